// Package guard protects a backend that knows nothing of OAuth. It reads the
// bearer token of a request (RFC 6750), asks a [TokenValidator] about the token,
// and decides whether the request may pass. It takes off headers that only a
// guard may set, and refuses request targets that a proxy and a backend could
// read in two ways. It knows no store and no Caddy: package caddymodule puts it
// into Caddy's routes.
package guard

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// Options are the options of a guard. A guard checks the bearer token (RFC 6750)
// and tells the backend who asks, in headers that no client can set. The zero
// value requires a token for any audience of the server.
type Options struct {
	Need          deviceauth.Requirement
	Optional      bool             // let requests without credentials through, without identity
	KeepToken     bool             // leave the token on the request
	TokenHeader   string           // where the token is; empty: Authorization
	Basic         bool             // also accept the token as the password of HTTP Basic
	PassPreflight bool             // let the backend answer CORS preflights
	NoMetadata    bool             // for an endpoint of the server's own, which has no resource metadata
	Headers       []IdentityHeader // beside the default ones; one of a default's claim renames it
}

// An IdentityHeader is a request header that tells the backend one claim.
type IdentityHeader struct {
	Name  string `json:"name"`
	Claim string `json:"claim"` // sub, user, client_id, scope, upstream, or one of the upstream's
	// Write each value percent-encoded (RFC 3986 §2.1): beyond ASCII, spaces,
	// commas and all. A backend that reads headers as Latin-1 needs that for names.
	Encoded bool `json:"encoded,omitempty"`
}

// defaultHeaders are the headers that Authelia and other gateways use, too.
var defaultHeaders = []IdentityHeader{
	{Name: "Remote-User", Claim: "user"}, {Name: "Remote-Email", Claim: "email"},
	{Name: "Remote-Name", Claim: "name"}, {Name: "Remote-Groups", Claim: "groups"},
	{Name: "Remote-Client", Claim: "client_id"}, {Name: "Remote-Scopes", Claim: "scope"},
	{Name: "Remote-Upstream", Claim: "upstream"}, // where there are several
}

// A Challenge is the error of a request that is refused: its status and its
// WWW-Authenticate headers. It wraps the reason.
type Challenge struct {
	Status  int
	Headers []string
	err     error
	scope   deviceauth.Scope // that the guard needs
	server  string           // that issues tokens
}

// Error is the text of the reason.
func (c *Challenge) Error() string { return c.err.Error() }
func (c *Challenge) Unwrap() error { return c.err }

// A TokenValidator validates access tokens: a [deviceauth.Engine], or a server
// of package remote for an engine elsewhere.
type TokenValidator interface {
	Issuer() string
	Audience() []string // of its tokens; any is accepted where a guard names none
	// AllowsOrigin says whether the pages of an origin act as a client.
	AllowsOrigin(ctx context.Context, origin string) bool
	// ValidateToken refuses with invalid_token or insufficient_scope; any other error
	// is a fault.
	ValidateToken(ctx context.Context, token string, need deviceauth.Requirement) (*deviceauth.Identity, error)
}

// A Guard is [Options] made ready for one server.
type Guard struct {
	options Options
	server  TokenValidator
	headers []IdentityHeader
}

// New makes a guard of options, for the tokens of one server.
func New(g Options, of TokenValidator) *Guard {
	s := &Guard{options: g, server: of, headers: g.identityHeaders()}
	return s
}

// identityHeaders are the default set, with what the operator renamed, added or gave
// another claim, in canonical spelling.
func (g *Options) identityHeaders() (list []IdentityHeader) {
	for _, h := range g.Headers {
		h.Name = http.CanonicalHeaderKey(h.Name)
		list = append(list, h)
	}
	for _, def := range defaultHeaders {
		replaced := slices.ContainsFunc(list, func(h IdentityHeader) bool {
			return h.Claim == def.Claim || isSameHeader(h.Name, def.Name)
		})
		if !replaced {
			list = append(list, def)
		}
	}
	return list
}

// IsPreflight reports whether a request is a CORS preflight. Browsers send no
// credentials with one.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" &&
		len(r.Header.Values("Authorization")) == 0 // not Get: the first of two may be empty
}

// Preflight reports whether a request is a CORS preflight that the guard has to
// answer, and sets the response headers that say what the page may do.
func (s *Guard) Preflight(header http.Header, r *http.Request) bool {
	if s.options.PassPreflight || !IsPreflight(r) {
		return false
	}
	if response.AllowOrigin(header, r, s.server.AllowsOrigin) {
		response.Permit(header, r.Header.Get("Access-Control-Request-Method"))
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			header.Set("Access-Control-Allow-Headers", asked)
		}
	}
	return true
}

// origin returns the origin of a request whose page may read the backend's
// response, or "".
func (s *Guard) origin(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if origin == "" || !s.server.AllowsOrigin(r.Context(), origin) {
		return ""
	}
	return origin
}

// Header returns the name of the header that has the token.
func (g *Options) Header() string { return cmp.Or(g.TokenHeader, "Authorization") }

// Authenticate decides on a request by its token. known is a token that an
// earlier guard of the same request took off the request; "" is none. An
// identity of nil without an error is an anonymous request that may pass. A
// refusal is a *[Challenge]; the token is also returned with a challenge for a
// missing scope, because the token itself is valid. Any other error is a fault:
// nothing could be decided.
func (s *Guard) Authenticate(r *http.Request, known string) (id *deviceauth.Identity, token string, err error) {
	id, token, err = s.authenticate(r, known)
	if err != nil && outcomeOf(err) != Unavailable {
		return nil, token, s.Refuse(r, err)
	}
	return id, token, err
}

// authenticate is [Guard.Authenticate] without the challenge: a refusal is
// [ErrNoCredentials] or has a *[deviceauth.Error]. The token is taken off the request
// as soon as it is known to be valid, also where it lacks a scope: no later handler
// needs it.
func (s *Guard) authenticate(r *http.Request, known string) (*deviceauth.Identity, string, error) {
	token, given, err := s.Token(r)
	switch {
	case err != nil:
		return nil, "", err
	case !given && known != "":
		token = known
	case !given && s.options.Optional:
		return nil, "", nil
	case !given:
		return nil, "", ErrNoCredentials
	}
	id, err := s.server.ValidateToken(r.Context(), token, s.options.Need)
	refusal := deviceauth.AsError(err)
	if refusal != nil && refusal.Code != "insufficient_scope" {
		return nil, "", err
	}
	if (err == nil || refusal != nil) && !s.options.KeepToken {
		r.Header.Del(s.options.Header())
	}
	return id, token, err
}

// SetIdentityHeaders sets the identity headers for the backend. A claim without
// a value sets none; the client's own header of that name has been taken off
// before.
func (s *Guard) SetIdentityHeaders(r *http.Request, id *deviceauth.Identity) {
	values := make([]string, len(s.headers)) // the values of all headers in one allocation
	for i, h := range s.headers {
		if h.Encoded {
			values[i] = id.Encoded(h.Claim)
		} else {
			values[i] = id.Claim(h.Claim)
		}
		if values[i] != "" {
			r.Header[h.Name] = values[i : i+1 : i+1]
		}
	}
}
