package guard

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// Middleware returns a handler that passes requests with a valid token to the next
// handler, and tells that handler the identity in headers that no client can set. It
// takes the following steps of [Pipeline.Decide], whose order is part of the API:
//
//  1. strip from the request what only a guard may set: identity headers in every
//     spelling, in trailers too, our own cookies, and hop-by-hop options;
//  2. refuse (400) a target that two servers could interpret differently;
//  3. answer a request for the metadata of the guarded resource (RFC 9728);
//  4. answer a CORS preflight, with which browsers send no credentials;
//  5. check the token, and take it off the request unless KeepToken is set;
//  6. set the identity headers, and keep the response out of shared caches
//     (Cache-Control: private).
//
// A refusal has a WWW-Authenticate header (RFC 6750 §3) and a short body; if the
// token cannot be checked because of a fault, the response is 503. The decision is
// made when the request arrives: a response that is being streamed goes on after a
// revocation, unlike with package caddymodule.
func (g *Guard) Middleware(next http.Handler) http.Handler {
	p := Pipeline{Reserved: g.options.ReservedHeaders(), Plain: true, Describe: g.describe,
		Guard: func(*http.Request) (*Guard, func(), error) { return g, func() {}, nil }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context()) // the caller's request must not be modified
		d := p.Decide(w, r, new(State))
		if d.Answered {
			return
		}
		if d.Err != nil {
			g.explain(w, r, &d)
			return
		}
		if d.Outcome != Preflight { // a preflight with PassPreflight is left to the backend
			header := w.Header()
			g.share(header, d.Origin, "Origin", g.options.Header())
			if d.Outcome == Admitted {
				header.Set("Cache-Control", "private")
			}
		}
		next.ServeHTTP(w, r)
	})
}

// share allows a page of the origin to read the response, and adds the request
// headers on which the response depends to Vary.
func (g *Guard) share(header http.Header, origin string, vary ...string) {
	if origin != "" {
		response.SetOrigin(header, origin)
	}
	header["Vary"] = append(header["Vary"], vary...)
}

// explain writes the response to a request that does not pass.
func (g *Guard) explain(w http.ResponseWriter, r *http.Request, d *Decision) {
	header := w.Header()
	switch {
	case d.Challenge != nil:
		g.share(header, d.Origin, "Origin")
		header["Www-Authenticate"] = d.Challenge.Headers
		header.Set("Cache-Control", "no-store")
		Explain(w, r, d.Challenge.Status, d.Challenge)
	case d.Outcome == Malformed:
		Explain(w, r, http.StatusBadRequest, d.Err)
	default:
		g.share(header, d.Origin, "Origin")
		header.Set("Retry-After", "5")
		Explain(w, r, http.StatusServiceUnavailable, d.Err)
	}
}

// describe answers a request for the metadata of the guarded resource, and reports
// whether it did.
func (g *Guard) describe(w http.ResponseWriter, r *http.Request) bool {
	if !IsMetadataPath(r.URL.Path) {
		return false
	}
	audience := g.options.Need.Audience
	if len(audience) == 0 {
		audience = g.server.Audience()
	}
	Resource{
		Servers: []string{g.server.Issuer()}, Audience: audience,
		Scope: deviceauth.NewScope(g.options.Need.Scope.List()...),
	}.ServeHTTP(w, r)
	return true
}
