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
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

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

// malformed is the error invalid_request, which is answered 400.
func malformed(why string) error { return deviceauth.NewError("invalid_request", why) }

// ErrNoCredentials is the reason where a request has no token and needs one.
var ErrNoCredentials = errors.New("the request has no bearer token")

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

// identityHeaders are the default set, with what the operator renamed or added,
// in canonical spelling.
func (g *Options) identityHeaders() (list []IdentityHeader) {
	for _, h := range g.Headers {
		h.Name = http.CanonicalHeaderKey(h.Name)
		list = append(list, h)
	}
	for _, def := range defaultHeaders {
		renamed := false
		for _, h := range g.Headers {
			renamed = renamed || h.Claim == def.Claim
		}
		if !renamed {
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

// Origin returns the origin of a request, and reports whether its page may read
// the backend's response.
func (s *Guard) Origin(r *http.Request) (origin string, ok bool) {
	origin = r.Header.Get("Origin")
	return origin, origin != "" && s.server.AllowsOrigin(r.Context(), origin)
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
	token, given, err := s.Token(r)
	switch {
	case err != nil:
		return nil, "", s.Refuse(r, err)
	case !given && known != "":
		token = known
	case !given && s.options.Optional:
		return nil, "", nil
	case !given:
		return nil, "", s.Refuse(r, ErrNoCredentials)
	}
	id, err = s.server.ValidateToken(r.Context(), token, s.options.Need)
	refusal := deviceauth.AsError(err)
	alive := err == nil || refusal != nil && refusal.Code == "insufficient_scope"
	if alive && !s.options.KeepToken { // also with a missing scope: no later handler needs the token
		r.Header.Del(s.options.Header())
	}
	switch {
	case alive && refusal != nil:
		return nil, token, s.Refuse(r, err)
	case refusal != nil:
		return nil, "", s.Refuse(r, err)
	}
	return id, token, err
}

// errNoToken is the error for a password that cannot be a token. It is answered
// 401, so that the person is asked again, which a 400 would not do.
var errNoToken = deviceauth.BadToken(deviceauth.TokenMalformed, nil)

// Token returns the token of a request from the one header that the guard reads.
// given reports whether the request has credentials at all. A single empty
// header counts as none (RFC 6750 §3.1: "lacks any authentication information");
// two headers are ambiguous and refused, even if one is empty.
func (s *Guard) Token(r *http.Request) (token string, given bool, err error) {
	name := s.options.Header()
	headers := r.Header.Values(name)
	if len(headers) > 1 {
		return "", false, malformed("more than one " + name + " header")
	}
	if len(headers) == 0 {
		return "", false, nil
	}
	scheme, value, spaced := cutScheme(headers[0])
	switch {
	case s.options.TokenHeader != "" && isToken68(headers[0]): // the token alone
		return headers[0], true, nil
	case s.options.TokenHeader != "" && headers[0] != "" && !strings.EqualFold(scheme, "Bearer"):
		return "", false, malformed(name + ": want a token, alone or after Bearer")
	case strings.EqualFold(scheme, "Bearer") && spaced && isToken68(value):
		return value, true, nil
	case strings.EqualFold(scheme, "Bearer"):
		return "", false, malformed(name + ": want Bearer and a token")
	case s.options.Basic && strings.EqualFold(scheme, "Basic"):
		raw, err := base64.StdEncoding.DecodeString(value)
		user, password, found := strings.Cut(string(raw), ":")
		switch {
		case err != nil || !spaced || !found:
			return "", false, malformed("Authorization: want Basic with the token as the password")
		case user == "" && password == "": // some tools begin with empty Basic credentials
			return "", false, nil
		case !isToken68(password):
			return "", false, errNoToken
		}
		return password, true, nil
	}
	return "", false, nil // another scheme is for another server to understand
}

// cutScheme splits credentials into scheme and rest (RFC 9110 §11.4). spaced
// reports whether a space follows the scheme, as the grammar wants; a tab is not
// enough.
func cutScheme(header string) (scheme, rest string, spaced bool) {
	end := strings.IndexFunc(header, func(r rune) bool { return !isSchemeLetter(r) })
	if end < 0 {
		return header, "", false
	}
	return header[:end], strings.Trim(header[end:], " "), header[end] == ' '
}

// isSchemeLetter is tchar of RFC 9110 §5.6.2, without the characters that no
// registered scheme has.
func isSchemeLetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r == '-' || r == '_' || r == '.' || r == '+'
}

// isToken68 reports whether a string has the syntax of a bearer token (RFC 6750
// §2.1): characters of token68, and padding at its end.
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		if !token68[body[i]] {
			return false
		}
	}
	return body != ""
}

// token68 has the characters of a token, in a table because every request has
// hundreds of them.
var token68 = func() (table [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/" {
		table[c] = true
	}
	return table
}()

// Covers reports whether a scope is enough for what is guarded.
func (s *Guard) Covers(scope deviceauth.Scope) bool { return s.options.Need.Scope.Within(scope) }

// Forbid is the challenge to valid credentials whose scope is too small (403,
// insufficient_scope).
func (s *Guard) Forbid(r *http.Request, id *deviceauth.Identity) *Challenge {
	return s.Refuse(r, deviceauth.LacksScope(id))
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
