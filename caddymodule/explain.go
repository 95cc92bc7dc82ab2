package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// explain answers a refused request with a short body in words, where no error
// route of the operator's is for it (else it is theirs to say something). It
// reports whether it has answered.
func (s *sites) explain(g *Guard, w http.ResponseWriter, r *http.Request, err error) bool {
	var refused caddyhttp.HandlerError
	server, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || !errors.As(err, &refused) {
		return false
	}
	s.once.Do(s.look)
	if s.ownErrors[g] || server.Errors != nil && anyRoute(server.Errors.Routes, server.Errors.WithError(r, err)) {
		return false
	}
	guard.Explain(w, r, refused.StatusCode, err)
	return true
}

// anyRoute reports whether a request comes to some handler of the routes.
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
