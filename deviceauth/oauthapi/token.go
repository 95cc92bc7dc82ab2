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

// token is RFC 6749 §3.2.
func (s *vendorDialect) token(r *http.Request) (*endpoint.Response, error) {
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	// One of the three is named by grant_type; its parameters are nobody else's business, and
	// further ones are ignored (RFC 6749 §3.2).
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
	return tokenAnswer(tokens), nil
}

// exchange is RFC 6749 §4.1.3 with RFC 7636 §4.5.
func (s *vendorDialect) exchange(
	r *http.Request, p params, client deviceauth.Credentials,
) (*deviceauth.Tokens, error) {
	// All three in every exchange: there is no client without PKCE, and none without a redirect
	// URI in its authorization request.
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

// redeem is RFC 8628 §3.4.
func (s *vendorDialect) redeem(r *http.Request, p params, client deviceauth.Credentials) (*deviceauth.Tokens, error) {
	// Some products call it otherwise, see [dialect].
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

// refresh is RFC 6749 §6.
func (s *vendorDialect) refresh(r *http.Request, p params, client deviceauth.Credentials) (*deviceauth.Tokens, error) {
	token := p.get("refresh_token")
	if token == "" {
		return nil, missing(r, "invalid_request", "refresh_token")
	}
	// A refresh may narrow what was granted (RFC 6749 §6).
	scope, resource := s.scope(p, client.ClientID)
	if s.scoping != nil && strings.Contains(p.get("scope"), "/"+entraDefault) {
		scope = "" // all that was granted, which the client may have more than by now
	}
	return s.cfg.Engine.Refresh(r.Context(), deviceauth.RefreshRequest{
		Client: client, RefreshToken: token, Scope: scope, Resource: append(resource, p["resource"]...), Nulls: s.nulls,
	})
}

// tokenAnswer is RFC 6749 §5.1.
func tokenAnswer(t *deviceauth.Tokens) *endpoint.Response {
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
