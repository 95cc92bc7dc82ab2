package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/routes"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// explain answers a refused request with a short body that explains the error, and
// reports whether it did. It does not if the operator has error routes for the
// request, which then write the response. Without such a body people would see an
// empty page.
func (s *sites) explain(g *Guard, w http.ResponseWriter, r *http.Request, err error) bool {
	var handlerErr caddyhttp.HandlerError
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || !errors.As(err, &handlerErr) {
		return false
	}
	// Both kinds of error routes count: those of the block that contains the guard,
	// and those of the server (handle_errors).
	if s.of(g).OwnErrors ||
		server.Errors != nil && routes.Reaches(server.Errors.Routes, server.Errors.WithError(r, err)) {
		return false
	}
	guard.Explain(w, r, handlerErr.StatusCode, err)
	return true
}
