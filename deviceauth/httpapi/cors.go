package httpapi

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// A corsPolicy says which pages of other origins may read an answer.
type corsPolicy int

const (
	corsNone    corsPolicy = iota // pages for people: none
	corsAny                       // what is public anyway: all
	corsClients                   // what needs a client: the pages that play a device
)

// cors adds the headers of an answer, on errors too. Credentials are never
// allowed: no endpoint looks at cookies.
func (h *Handler) cors(policy corsPolicy, header http.Header, r *http.Request) {
	switch policy {
	case corsAny:
		response.AllowAnyOrigin(header)
	case corsClients:
		response.AllowOrigin(header, r, h.origins)
	}
}

// preflight answers OPTIONS.
func (h *Handler) preflight(route route, r *http.Request) *answer {
	a := newAnswer(http.StatusNoContent, "", nil).set("Allow", allowed(route))
	if route.cors == corsAny || route.cors == corsClients && h.origins[r.Header.Get("Origin")] {
		response.Permit(a.header, allowed(route))
		if route.cors == corsAny {
			response.PermitAsked(a.header, r)
		}
	}
	return a
}
