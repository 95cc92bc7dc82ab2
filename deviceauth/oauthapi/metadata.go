package oauthapi

import (
	"maps"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// metadata serves RFC 8414 §2 and OpenID Connect Discovery §3 in one document.
//
// authorization_endpoint and response_types_supported are required members even if no
// client has a redirect URI: strict clients refuse a document without them, and MCP
// clients one without code_challenge_methods_supported. An empty list MUST be omitted
// (RFC 8414 §3.2).
func (h *Handler) metadata(*http.Request) (*endpoint.Response, error) {
	p, e := h.cfg.Paths, h.cfg.Engine
	// A public client uses the method none (RFC 7591 §2).
	methods := []string{"none", "client_secret_basic", "client_secret_post"}
	document := map[string]any{
		"issuer":                        e.Issuer(),
		"authorization_endpoint":        h.origin + p.Authorize,
		"device_authorization_endpoint": h.origin + p.DeviceAuthorization,
		"token_endpoint":                h.origin + p.Token,
		"revocation_endpoint":           h.origin + p.Revoke,
		"introspection_endpoint":        h.origin + p.Introspect,
		"userinfo_endpoint":             h.origin + p.Userinfo,
		"jwks_uri":                      h.origin + p.JWKS,
		"grant_types_supported": []string{grantAuthorizationCode, grantDeviceCode,
			grantRefreshToken},
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"request_parameter_supported":                    false,
		"request_uri_parameter_supported":                false, // its default is true
		"code_challenge_methods_supported":               []string{"S256"},
		"prompt_values_supported":                        []string{"none", "login", "consent", "select_account"},
		"authorization_response_iss_parameter_supported": true,
		"token_endpoint_auth_methods_supported":          methods,
		"revocation_endpoint_auth_methods_supported":     methods,
		"introspection_endpoint_auth_methods_supported":  methods[1:],
		"scopes_supported":                               e.Scopes(),
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          h.cfg.Keys.Algorithms(),
		"claims_supported": []string{
			"sub", "iss", "aud", "exp", "iat", "auth_time",
			"name", "email", "email_verified", "picture", deviceauth.ScopeGroups,
		},
	}
	if e.Registration().Registers() {
		document["registration_endpoint"] = h.origin + p.Register
	}
	if e.Registration().Fetch != nil {
		document["client_id_metadata_document_supported"] = true
	}
	return public(endpoint.JSON(http.StatusOK, withoutEmpty(document))), nil
}

// withoutEmpty removes members with an empty list, as RFC 8414 §3.2 requires.
func withoutEmpty(document map[string]any) map[string]any {
	maps.DeleteFunc(document, func(_ string, value any) bool {
		list, ok := value.([]string)
		return ok && len(list) == 0
	})
	return document
}

// jwks serves the JWK Set (RFC 7517 §5): the keys that sign, those that signed tokens
// which are still valid, and the next key before it signs.
func (h *Handler) jwks(*http.Request) (*endpoint.Response, error) {
	return public(endpoint.NewResponse(http.StatusOK, "application/jwk-set+json", h.cfg.Keys.JWKS())), nil
}

// public lets caches store a response for five minutes, which is short enough that a
// new key is known before it signs.
func public(a *endpoint.Response) *endpoint.Response {
	return a.Set("Cache-Control", "public, max-age=300")
}
