package oauthapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 28
func TestMetadataHasWhatStrictClientsWant(t *testing.T) {
	s := gatewaytest.New(t)
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		v := gatewaytest.JSON(t, s.Get(path))
		// RFC 8414 §2, OpenID Connect Discovery §3
		for _, required := range []string{
			"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported",
		} {
			if v[required] == nil {
				t.Errorf("%s: no %s", path, required)
			}
		}
		for name, value := range v {
			if list, ok := value.([]any); ok && len(list) == 0 {
				t.Errorf("%s: %s is an empty list (RFC 8414 §3.2)", path, name)
			}
		}
		if _, there := v["code_challenge_methods_supported"]; there || strings.Contains(s.Get(path).Body.String(), `"code"`) {
			t.Errorf("%s names what there is not: %v", path, v)
		}
	}
	without := gatewaytest.New(t, func(c *deviceauth.Config) {
		for i := range c.Clients {
			c.Clients[i].Scope = ""
		}
	})
	if _, there := gatewaytest.JSON(t, without.Get("/.well-known/oauth-authorization-server"))["scopes_supported"]; there {
		t.Error("a server without scopes names an empty list of them")
	}
}

// protocol 28, 46
func TestAuthorizationEndpointSaysWhatThereIs(t *testing.T) {
	s := gatewaytest.New(t)
	const away = "&redirect_uri=https%3A%2F%2Fevil.example%2F&state=x&code_challenge=x&code_challenge_method=S256"
	tests := []struct {
		name, query, accept string
		status              int
		says                string
	}{
		{"code, of a program", "?response_type=code&client_id=tv" + away, "", 400, `"error":"unsupported_response_type"`},
		{"code, of a browser", "?response_type=code&client_id=tv" + away, "text/html", 400, "There is no such sign-in here"},
		{"token", "?response_type=token&client_id=tv" + away, "", 400, "device_authorization_endpoint"},
		{"nothing", "", "", 400, `"error":"unsupported_response_type"`},
		{"none of an unknown client", "?response_type=none&client_id=x" + away, "", 400, `"error":"unsupported_response_type"`},
		{"none twice", "?response_type=none&response_type=code&client_id=tv" + away, "", 400, `"error":"unsupported_response_type"`},
		{"none", "?response_type=none&client_id=tv" + away, "text/html", 303, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, method := range []string{"GET", "POST"} {
				w := s.Do(httptest.NewRequest(method, "/oauth2/authorize"+test.query, nil), "Accept", test.accept)
				if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
					t.Errorf("%s: %d, want %d and %q in\n%s", method, w.Code, test.status, test.says, w.Body)
				}
				if to := w.Header().Get("Location"); to != "" && to != "https://api.example.com/device" || strings.Contains(w.Body.String(), "evil") {
					t.Errorf("%s leads to %q:\n%s", method, to, w.Body)
				}
			}
		})
	}
	if w := s.Do(httptest.NewRequest("PUT", "/oauth2/authorize", nil)); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("PUT: %d", w.Code)
	}
}
