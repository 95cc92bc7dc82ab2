package guard

import (
	"errors"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// Middleware lets requests with a valid token through to the next handler, and
// tells that handler who asks in headers that no client can set. The order is a
// promise:
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
	reserved := s.options.ReservedHeaders()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r = r.Clone(r.Context()) // the caller keeps its request unchanged
		reserved.Strip(r)
		StripConnection(r)
		StripCookies(r.Header)
		StripOverrides(r, false)
		if err := errors.Join(CheckTarget(r), CheckSpelling(r.URL)); err != nil {
			Explain(w, r, http.StatusBadRequest, err)
			return
		}
		if rest, ok := strings.CutPrefix(r.URL.Path, ResourceMetadataPath); ok && (rest == "" || rest[0] == '/') {
			s.resource().ServeHTTP(w, r)
			return
		}
		if s.Preflight(w.Header(), r) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s.serve(w, r, next)
	})
}

// serve decides by the token of a request, and answers a request that is
// refused.
func (s *Guard) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	if IsPreflight(r) { // with PassPreflight it is the backend's business
		next.ServeHTTP(w, r)
		return
	}
	header := w.Header()
	if origin, ok := s.Origin(r); ok {
		response.SetOrigin(header, origin)
	}
	header.Add("Vary", "Origin")
	id, _, err := s.Authenticate(r, "")
	var challenge *Challenge
	switch {
	case errors.As(err, &challenge):
		header["Www-Authenticate"] = challenge.Headers
		header.Set("Cache-Control", "no-store")
		Explain(w, r, challenge.Status, challenge)
		return
	case err != nil:
		header.Set("Retry-After", "5")
		Explain(w, r, http.StatusServiceUnavailable, err)
		return
	}
	if id != nil {
		s.SetIdentityHeaders(r, id)
		header.Set("Cache-Control", "private")
	}
	header.Add("Vary", s.options.Header())
	next.ServeHTTP(w, r)
}

// resource is the metadata of what the guard guards.
func (s *Guard) resource() Resource {
	audience := s.options.Need.Audience
	if len(audience) == 0 {
		audience = s.server.Audience()
	}
	return Resource{
		Servers: []string{s.server.Issuer()}, Audience: audience,
		Scope: deviceauth.NewScope(s.options.Need.Scope.List()...),
	}
}
