package guard

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// Middleware lets requests with a valid token through to the next handler, and
// tells that handler who asks in headers that no client can set. The order is that
// of [Pipeline.Decide], and a promise:
//
//  1. what only a guard may say is taken off the request: identity headers in every
//     spelling, in trailers too, our own cookies, and hop-by-hop options;
//  2. a target that two servers would read in two ways is refused (400);
//  3. the description of the guarded resource is answered (RFC 9728);
//  4. a CORS preflight is answered, since browsers send no credentials with it;
//  5. the token is checked, and taken off the request unless KeepToken is set;
//  6. identity headers are set, and the answer is for this client alone (Cache-Control: private).
//
// Refusals have a WWW-Authenticate header (RFC 6750 §3) and a short body; where a token
// cannot be judged the answer is 503. A request is judged when it arrives: an answer
// that streams goes on after a revocation, unlike behind package caddymodule.
func (s *Guard) Middleware(next http.Handler) http.Handler {
	p := Pipeline{Reserved: s.options.ReservedHeaders(), Plain: true, Describe: s.describe,
		Guard: func(*http.Request) (*Guard, func(), error) { return s, func() {}, nil }}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context()) // the caller keeps its request unchanged
		d := p.Decide(w, r, new(State))
		if d.Answered {
			return
		}
		if d.Err != nil {
			s.explain(w, r, &d)
			return
		}
		if d.Outcome != Preflight { // with PassPreflight it is the backend's business
			header := w.Header()
			s.share(header, d.Origin, "Origin", s.options.Header())
			if d.Outcome == Admitted {
				header.Set("Cache-Control", "private")
			}
		}
		next.ServeHTTP(w, r)
	})
}

// share says whose page may read the response, and by which headers of the request it
// differs.
func (s *Guard) share(header http.Header, origin string, vary ...string) {
	if origin != "" {
		response.SetOrigin(header, origin)
	}
	header["Vary"] = append(header["Vary"], vary...)
}

// explain answers a request that does not pass.
func (s *Guard) explain(w http.ResponseWriter, r *http.Request, d *Decision) {
	header := w.Header()
	switch {
	case d.Challenge != nil:
		s.share(header, d.Origin, "Origin")
		header["Www-Authenticate"] = d.Challenge.Headers
		header.Set("Cache-Control", "no-store")
		Explain(w, r, d.Challenge.Status, d.Challenge)
	case d.Outcome == Malformed:
		Explain(w, r, http.StatusBadRequest, d.Err)
	default:
		s.share(header, d.Origin, "Origin")
		header.Set("Retry-After", "5")
		Explain(w, r, http.StatusServiceUnavailable, d.Err)
	}
}

// describe answers a request for the metadata of what the guard guards, and reports
// whether it did.
func (s *Guard) describe(w http.ResponseWriter, r *http.Request) bool {
	if !IsMetadataPath(r.URL.Path) {
		return false
	}
	audience := s.options.Need.Audience
	if len(audience) == 0 {
		audience = s.server.Audience()
	}
	Resource{
		Servers: []string{s.server.Issuer()}, Audience: audience,
		Scope: deviceauth.NewScope(s.options.Need.Scope.List()...),
	}.ServeHTTP(w, r)
	return true
}
