package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// explain answers a refused request with a short body that says what is wrong,
// and reports whether it did. Where error routes of the operator's are for the
// request, it does not: then the response is theirs. Without a body of its own,
// a refusal would reach people as an empty page.
func (s *sites) explain(g *Guard, w http.ResponseWriter, r *http.Request, err error) bool {
	var handlerErr caddyhttp.HandlerError
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || !errors.As(err, &handlerErr) {
		return false
	}
	// Both kinds of error routes count: those of the block that the guard is in,
	// and those of the server (handle_errors).
	s.once.Do(s.inspect)
	if s.ownErrors[g] || server.Errors != nil && anyRoute(server.Errors.Routes, server.Errors.WithError(r, err)) {
		return false
	}
	guard.Explain(w, r, handlerErr.StatusCode, err)
	return true
}

// anyRoute reports whether a request reaches some handler of the routes. A
// matcher that fails counts as matching, since Caddy would then run an error
// route, too.
func anyRoute(routes caddyhttp.RouteList, r *http.Request) bool {
	for _, route := range routes {
		if matched, err := route.MatcherSets.AnyMatchWithError(r); !matched && err == nil {
			continue
		}
		for _, h := range route.Handlers {
			if sub, ok := h.(*caddyhttp.Subroute); !ok || anyRoute(sub.Routes, r) {
				return true
			}
		}
	}
	return false
}
