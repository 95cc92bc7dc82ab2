package oauthapi

import (
	"net/http"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// The grant types of RFC 6749 §4.1.3, RFC 8628 §3.4 and RFC 6749 §6.
const (
	grantAuthorizationCode = "authorization_code"
	grantDeviceCode        = "urn:ietf:params:oauth:grant-type:device_code"
	grantRefreshToken      = "refresh_token"
)

// token serves the token endpoint (RFC 6749 §3.2) for the grant types of devices and
// browsers. There is no password grant and no client credentials grant: each token
// belongs to a person.
func (s *vendorDialect) token(r *http.Request) (*endpoint.Response, error) {
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	// Each grant type reads its own parameters and ignores others (RFC 6749 §3.2).
	var tokens *deviceauth.Tokens
	switch s.grantType(p) {
	case "":
		err = missing(r, "invalid_request", "grant_type")
	case grantAuthorizationCode:
		tokens, err = s.exchange(r, p, client)
	case grantDeviceCode:
		tokens, err = s.redeem(r, p, client)
	case grantRefreshToken:
		tokens, err = s.refresh(r, p, client)
	default:
		err = deviceauth.NewError("unsupported_grant_type",
			"want "+grantAuthorizationCode+", "+grantDeviceCode+" or "+grantRefreshToken)
	}
	if err != nil {
		return nil, err
	}
	return tokenResponse(tokens), nil
}

// exchange exchanges an authorization code for tokens (RFC 6749 §4.1.3, RFC 7636
// §4.5).
func (s *vendorDialect) exchange(
	r *http.Request, p params, client deviceauth.Credentials,
) (*deviceauth.Tokens, error) {
	// All three are required: every client uses PKCE, and every authorization request
	// has a redirect URI.
	for _, name := range []string{"code", "redirect_uri", "code_verifier"} {
		if p.get(name) == "" {
			return nil, missing(r, "invalid_request", name)
		}
	}
	return s.cfg.Engine.Exchange(r.Context(), deviceauth.ExchangeRequest{
		Client: client, Code: p.get("code"), RedirectURI: p.get("redirect_uri"), Verifier: p.get("code_verifier"),
		Resource: p["resource"], From: s.cfg.ClientIP(r), Nulls: s.nulls,
	})
}

// redeem handles a device's poll (RFC 8628 §3.4). The engine may hold it until the
// person has decided, so that the device gets its tokens at once and not only at the
// next poll.
func (s *vendorDialect) redeem(r *http.Request, p params, client deviceauth.Credentials) (*deviceauth.Tokens, error) {
	// Some products have another name for it, see [dialect].
	code := s.deviceCode(p)
	if code == "" {
		return nil, missing(r, "invalid_request", "device_code")
	}
	tokens, err := s.cfg.Engine.Redeem(r.Context(), deviceauth.RedeemRequest{
		Client: client, DeviceCode: code, Verifier: p.get("code_verifier"), Resource: p["resource"], Nulls: s.nulls,
	})
	if err != nil {
		return nil, deviceCodeError{error: err}
	}
	return tokens, nil
}

// refresh handles a refresh request (RFC 6749 §6). The refresh token is rotated: the
// response has a new one (RFC 9700 §4.14.2).
func (s *vendorDialect) refresh(r *http.Request, p params, client deviceauth.Credentials) (*deviceauth.Tokens, error) {
	token := p.get("refresh_token")
	if token == "" {
		return nil, missing(r, "invalid_request", "refresh_token")
	}
	// A refresh may narrow the scope (RFC 6749 §6).
	scope, resource := s.scope(p, client.ClientID)
	if s.scoping != nil && strings.Contains(p.get("scope"), "/"+entraDefault) {
		scope = "" // all that was granted: the client may have more scopes by now
	}
	return s.cfg.Engine.Refresh(r.Context(), deviceauth.RefreshRequest{
		Client: client, RefreshToken: token, Scope: scope, Resource: append(resource, p["resource"]...), Nulls: s.nulls,
	})
}

// tokenResponse returns the response of RFC 6749 §5.1, with the ID token of OpenID
// Connect Core §3.1.3.3.
func tokenResponse(t *deviceauth.Tokens) *endpoint.Response {
	return endpoint.JSON(http.StatusOK, struct {
		AccessToken  string           `json:"access_token"`
		TokenType    string           `json:"token_type"`
		ExpiresIn    int              `json:"expires_in"`
		Scope        deviceauth.Scope `json:"scope"`
		RefreshToken string           `json:"refresh_token,omitempty"`
		IDToken      string           `json:"id_token,omitempty"`

		RefreshExpiresIn int `json:"refresh_token_expires_in,omitempty"` // draft-ietf-oauth-refresh-token-expiration
	}{
		AccessToken: t.AccessToken.Reveal(), TokenType: "Bearer", ExpiresIn: int(t.ExpiresIn / time.Second),
		Scope: t.Scope, RefreshToken: t.RefreshToken.Reveal(), IDToken: t.IDToken.Reveal(),
		RefreshExpiresIn: int(t.RefreshExpiresIn / time.Second),
	})
}
