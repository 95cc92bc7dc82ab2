package endpoint

import (
	"context"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// CORS says which pages of other origins may read a response.
type CORS int

// The policies. The zero value is the strictest one.
const (
	NoOrigin      CORS = iota // pages for people: no other origin
	AnyOrigin                 // public documents: all origins
	ClientOrigins             // endpoints for clients: origins of the pages that act as a device
)

// addCORS adds the CORS headers to a response, also to an error. Credentials are
// never allowed, because no endpoint uses cookies.
func addCORS(policy CORS, header http.Header, r *http.Request) {
	switch policy {
	case AnyOrigin:
		response.AllowAnyOrigin(header)
	case ClientOrigins:
		response.AllowOrigin(header, r, func(context.Context, string) bool { return IsFromClientOrigin(r) })
	}
}

// clientOrigin marks the context of a request from one of [ClientOrigins].
type clientOrigin struct{}

// markOrigin marks a request from one of [ClientOrigins]. It is decided once, before the
// request is processed: a page must not be able to read a response that was not made for
// it.
func (m *Mux) markOrigin(policy CORS, r *http.Request) *http.Request {
	origin := r.Header.Get("Origin")
	if policy != ClientOrigins || origin == "" || !m.allowsOrigin(r.Context(), origin) {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), clientOrigin{}, true))
}

// IsFromClientOrigin reports whether the page that sent a request may read the response.
func IsFromClientOrigin(r *http.Request) bool { return r.Context().Value(clientOrigin{}) != nil }

// allowsOrigin reports whether an origin is one of [ClientOrigins].
func (m *Mux) allowsOrigin(ctx context.Context, origin string) bool {
	return m.AllowsOrigin != nil && m.AllowsOrigin(ctx, origin)
}

// preflight answers an OPTIONS request.
func (m *Mux) preflight(route Route, r *http.Request) *Response {
	a := NewResponse(http.StatusNoContent, "", nil).Set("Allow", route.allowed())
	if route.CORS == AnyOrigin || IsFromClientOrigin(r) {
		response.Permit(a.Header, route.allowed())
		if route.CORS == AnyOrigin {
			response.PermitAsked(a.Header, r)
		}
	}
	return a
}
