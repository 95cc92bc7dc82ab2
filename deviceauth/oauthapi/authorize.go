package oauthapi

import (
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// responseTypeNone is OAuth 2.0 Multiple Response Type Encoding Practices §4: the
// answer to the authorization request has neither a code nor a token.
const responseTypeNone = "none"

// errNoBrowserSignIn refuses all response types but none (RFC 6749 §4.1.2.1).
var errNoBrowserSignIn = deviceauth.NewError("unsupported_response_type",
	"programs sign in by the device authorization grant here (RFC 8628): "+
		"see device_authorization_endpoint in the metadata")

// authorization is where the metadata's authorization_endpoint leads. Strict
// clients throw metadata without one away, also where all they want is the device
// grant (OpenID Connect Discovery §3). There is no authorization code yet, and no
// client has a redirect URI. So every answer is given here, and never at a
// redirect_uri, which nobody has registered (RFC 6749 §4.1.2.1).
//
// A known client's response_type=none leads to where a person approves what a
// device asks for; neither a code nor a token comes of it.
func (s *vendorDialect) authorization(r *http.Request) (*endpoint.Response, error) {
	q := r.URL.Query()
	if q.Get("response_type") == responseTypeNone && len(q["response_type"]) == 1 && s.isClient(q.Get("client_id")) {
		return endpoint.Redirect(s.origin + s.cfg.Paths.Device), nil
	}
	return nil, errNoBrowserSignIn
}

// authorizationRoute answers people with a page and programs with JSON.
func (s *vendorDialect) authorizationRoute() endpoint.Route {
	// OpenID Connect Core §3.1.2.1 wants both methods.
	methods := map[string]endpoint.Func{http.MethodGet: s.authorization, http.MethodPost: s.authorization}
	fail := func(r *http.Request, err error) *endpoint.Response {
		if s.cfg.ErrorPage != nil && strings.Contains(r.Header.Get("Accept"), "text/html") {
			return s.cfg.ErrorPage(r, err)
		}
		return s.oauthError(r, err)
	}
	return endpoint.Route{Methods: methods, CORS: endpoint.NoOrigin, Fail: fail}
}
