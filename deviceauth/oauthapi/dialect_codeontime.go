package oauthapi

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// codeOnTime is the path of the OAuth 2.0 API in applications of Code On Time.
const codeOnTime = "/oauth2/v2"

// A link is a hypermedia link, which a device follows as it receives it.
type link struct {
	Href   string `json:"href"`
	Method string `json:"method,omitempty"` // none: GET
}

// links are the _links of a document, by relation.
type links map[string]link

// A tokenRequest is the body that a Code On Time device posts to the token link,
// unchanged, until it receives its tokens.
type tokenRequest struct {
	Links      links  `json:"_links"`
	GrantType  string `json:"grant_type"`
	ClientID   string `json:"client_id"`
	DeviceCode string `json:"device_code"`
}

// codeOnTimeMembers adds the next request of the device to the response.
func codeOnTimeMembers(s *vendorDialect, c deviceauth.Credentials, a *authorizationResponse) {
	// The product uses the name redirect_uri for verification_uri of RFC 8628; both
	// are sent.
	a.RedirectURI = a.URI
	a.Token = &tokenRequest{
		Links:     links{"self": {Href: s.path(s.dialect.paths.token), Method: http.MethodPost}},
		GrantType: grantDeviceCode, ClientID: c.ClientID, DeviceCode: a.DeviceCode,
	}
}

// path returns a path of the dialect with the issuer's path. Links have no host: a
// device resolves them against the URL of the document (RFC 3986 §5).
func (s *vendorDialect) path(p string) string { return s.cfg.Paths.prefix + p }

// codeOnTimeMore are the entry point and the token description, which only this
// product has.
var codeOnTimeMore = map[string]func(*vendorDialect) endpoint.Route{
	codeOnTime: func(s *vendorDialect) endpoint.Route {
		return s.open(s.entry)
	},
	codeOnTimeApps: (*vendorDialect).appsRoute,
	codeOnTime + "/tokeninfo": func(s *vendorDialect) endpoint.Route {
		methods := map[string]endpoint.Func{http.MethodGet: s.tokeninfo}
		return endpoint.Route{Methods: methods, CORS: endpoint.ClientOrigins, Fail: s.bearerError}
	},
}

// entry serves the entry document, from which a device that knows only its URL learns
// the endpoints, and the scopes with their explanations.
func (s *vendorDialect) entry(*http.Request) (*endpoint.Response, error) {
	p := s.dialect.paths
	type hint struct {
		Hint string `json:"hint"`
	}
	// openid has no hint: it permits nothing by itself.
	scopes := map[string]hint{}
	for _, scope := range s.cfg.Engine.Scopes() {
		scopes[scope] = hint{}
		if scope != deviceauth.ScopeOpenID {
			scopes[scope] = hint{Hint: s.cfg.ScopeText(scope)}
		}
	}
	return public(endpoint.JSON(http.StatusOK, map[string]any{
		"_links": links{
			"token":            {Href: s.path(p.token), Method: http.MethodPost},
			"tokeninfo":        {Href: s.path(codeOnTime + "/tokeninfo")},
			"userinfo":         {Href: s.path(p.userinfo), Method: http.MethodPost},
			"revoke":           {Href: s.path(p.revoke), Method: http.MethodPost},
			"authorize-device": {Href: s.path(p.authorization), Method: http.MethodPost},
		},
		"scopes": scopes,
	})), nil
}

// tokeninfo returns a description of an access token to its bearer. RFC 7662 is for
// resource servers, which must authenticate; here the token itself is the credential.
func (s *vendorDialect) tokeninfo(r *http.Request) (*endpoint.Response, error) {
	// KeepToken: no backend follows.
	id, _, err := guard.New(guard.Options{KeepToken: true, NoMetadata: true}, s.cfg.Engine).Authenticate(r, "")
	if err != nil {
		return nil, err
	}
	return endpoint.JSON(http.StatusOK, struct {
		Active    bool             `json:"active"`
		Subject   string           `json:"sub"`
		User      string           `json:"username"`
		ClientID  string           `json:"client_id"`
		Scope     deviceauth.Scope `json:"scope"`
		Expires   int64            `json:"exp"`
		TokenType string           `json:"token_type"`
	}{
		Active: true, Subject: id.Person.Subject, User: id.Person.User, ClientID: id.ClientID, Scope: id.Scope,
		Expires: id.Expires.Unix(), TokenType: "Bearer",
	}), nil
}
