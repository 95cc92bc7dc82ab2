// Package guard protects a backend that has no support for OAuth. It reads the bearer
// token of a request (RFC 6750), asks a [TokenValidator] about the token, and decides
// whether the request may pass. It strips headers that only a guard may set, and
// refuses request targets that a proxy and a backend could interpret differently. It
// depends neither on a store nor on Caddy: package caddymodule makes it a handler in
// Caddy's routes.
package guard

import (
	"cmp"
	"context"
	"net/http"
	"slices"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// Options are the options of a guard. A guard checks the bearer token (RFC 6750) and
// passes the identity to the backend in headers that no client can set. The zero
// value requires a token for any audience of the server.
type Options struct {
	Need          deviceauth.Requirement
	Optional      bool             // let requests without credentials through, without identity
	KeepToken     bool             // leave the token on the request
	TokenHeader   string           // where the token is; empty: Authorization
	Basic         bool             // also accept the token as the password of HTTP Basic
	PassPreflight bool             // let the backend answer CORS preflights
	NoMetadata    bool             // for an endpoint of the authorization server itself, which has no resource metadata
	Headers       []IdentityHeader // besides the default ones; a header with the claim of a default one replaces that
}

// An IdentityHeader is a request header that passes one claim to the backend.
type IdentityHeader struct {
	Name  string `json:"name"`
	Claim string `json:"claim"` // sub, user, client_id, scope, upstream, or one of the upstream's
	// Encoded percent-encodes each value (RFC 3986 §2.1): characters beyond ASCII,
	// spaces, commas and other delimiters. A backend that reads headers as Latin-1
	// needs it for names.
	Encoded bool `json:"encoded,omitempty"`
}

// defaultHeaders are the headers that Authelia and other gateways use, too.
var defaultHeaders = []IdentityHeader{
	{Name: "Remote-User", Claim: "user"}, {Name: "Remote-Email", Claim: "email"},
	{Name: "Remote-Name", Claim: "name"}, {Name: "Remote-Groups", Claim: "groups"},
	{Name: "Remote-Client", Claim: "client_id"}, {Name: "Remote-Scopes", Claim: "scope"},
	{Name: "Remote-Upstream", Claim: "upstream"}, // the upstream that signed the person in, if there are several
}

// A Challenge is the error of a refused request: its status and its WWW-Authenticate
// headers. It wraps the reason of the refusal.
type Challenge struct {
	Status  int
	Headers []string
	err     error
	scope   deviceauth.Scope // that the guard needs
	server  string           // the issuer of tokens
}

// Error returns the text of the reason.
func (c *Challenge) Error() string { return c.err.Error() }
func (c *Challenge) Unwrap() error { return c.err }

// A TokenValidator validates access tokens. It is a [deviceauth.Engine], or a server
// of package remote if the engine is in another process.
type TokenValidator interface {
	Issuer() string
	Audience() []string // of the server's tokens; a guard without an audience of its own accepts any of them
	// AllowsOrigin reports whether the pages of an origin may act as a client.
	AllowsOrigin(ctx context.Context, origin string) bool
	// ValidateToken refuses a token with the error invalid_token or
	// insufficient_scope. Any other error is a fault.
	ValidateToken(ctx context.Context, token string, need deviceauth.Requirement) (*deviceauth.Identity, error)
}

// A Guard applies [Options] to the tokens of one server.
type Guard struct {
	options Options
	server  TokenValidator
	headers []IdentityHeader
}

// New returns a guard with options, for the tokens of one server.
func New(o Options, server TokenValidator) *Guard {
	return &Guard{options: o, server: server, headers: o.identityHeaders()}
}

// identityHeaders returns the default headers, with those that the operator renamed,
// added or gave another claim. The names are canonical.
func (o *Options) identityHeaders() (list []IdentityHeader) {
	for _, h := range o.Headers {
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
		len(r.Header.Values("Authorization")) == 0 // not Get: the first of two headers may be empty
}

// Preflight reports whether a request is a CORS preflight that the guard must answer.
// If so, it sets the response headers that tell the browser what the page may do.
func (g *Guard) Preflight(header http.Header, r *http.Request) bool {
	if g.options.PassPreflight || !IsPreflight(r) {
		return false
	}
	if response.AllowOrigin(header, r, g.server.AllowsOrigin) {
		response.Permit(header, r.Header.Get("Access-Control-Request-Method"))
		if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" {
			header.Set("Access-Control-Allow-Headers", asked)
		}
	}
	return true
}

// origin returns the origin of the page that sent a request if the page may read the
// backend's response, or else "".
func (g *Guard) origin(r *http.Request) string {
	origin := r.Header.Get("Origin")
	if origin == "" || !g.server.AllowsOrigin(r.Context(), origin) {
		return ""
	}
	return origin
}

// Header returns the name of the header that contains the token.
func (o *Options) Header() string { return cmp.Or(o.TokenHeader, "Authorization") }

// Authenticate decides about a request by its token, without the other steps of a
// [Pipeline]. known is a token that an earlier
// guard has taken off the same request, or "". It returns a nil identity without an
// error for an anonymous request that may pass. A refusal is a *[Challenge]. If only
// a scope is missing, the token is returned together with the challenge, because the
// token itself is valid. Any other error is a fault, and no decision was possible.
func (g *Guard) Authenticate(r *http.Request, known string) (id *deviceauth.Identity, token string, err error) {
	id, token, err = g.authenticateToken(r, known)
	if err != nil && outcomeOf(err) != Unavailable {
		return nil, token, g.Refuse(r, err)
	}
	return id, token, err
}

// authenticateToken does the work of [Guard.Authenticate], but does not build the
// challenge: a refusal is [ErrNoCredentials] or has a *[deviceauth.Error]. It takes a
// valid token off the request, even if the token lacks a scope, because no later
// handler needs it.
func (g *Guard) authenticateToken(r *http.Request, known string) (*deviceauth.Identity, string, error) {
	token, given, err := g.Token(r)
	switch {
	case err != nil:
		return nil, "", err
	case !given && known != "":
		token = known
	case !given && g.options.Optional:
		return nil, "", nil
	case !given:
		return nil, "", ErrNoCredentials
	}
	id, err := g.server.ValidateToken(r.Context(), token, g.options.Need)
	refusal := deviceauth.AsError(err)
	if refusal != nil && refusal.Code != "insufficient_scope" {
		return nil, "", err
	}
	if (err == nil || refusal != nil) && !g.options.KeepToken {
		r.Header.Del(g.options.Header())
	}
	return id, token, err
}

// SetIdentityHeaders sets the identity headers for the backend. A claim without a
// value sets no header; the client's own header of that name must have been stripped
// before.
func (g *Guard) SetIdentityHeaders(r *http.Request, id *deviceauth.Identity) {
	values := make([]string, len(g.headers)) // one allocation for the values of all headers
	for i, h := range g.headers {
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
