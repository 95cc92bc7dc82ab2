package oauthapi_test

import (
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// Scopes as the Microsoft libraries write them mean ours.
func TestEntraScopesMeanOurs(t *testing.T) {
	const api, other = "https://api.example.com", "api://1234"
	s := gatewaytest.New(t, func(c *deviceauth.Config) {
		c.Audience = []string{api, other}
		c.Clients[0].Scope = "openid profile offline_access read write https://example.com/auth/odd"
	})
	s.Reconfigure(func(c *gateway.HandlerConfig) { c.Dialects = []string{"entra"} })
	tests := []struct{ asked, scope, audience, refuses string }{
		{"read", "read", api, ""},
		{"api://1234/read openid profile offline_access", "read openid profile offline_access", other, ""},
		{"api://of-another-tenant/read offline_access", "read offline_access", api, ""},
		{"https://api.example.com/read", "read", api, ""},
		{"https://api.example.com//.default", "read write https://example.com/auth/odd", api, ""},
		{"api://1234/.default offline_access", "read write https://example.com/auth/odd offline_access", other, ""},
		{"https://example.com/auth/odd", "https://example.com/auth/odd", api, ""},
		{"api://1234/admin", "", "", "invalid_scope"},
	}
	for _, test := range tests {
		t.Run(test.asked, func(t *testing.T) {
			w := s.Post("/common/oauth2/v2.0/devicecode", gatewaytest.Form,
				"client_id=tv&scope="+url.QueryEscape(test.asked))
			if test.refuses != "" {
				gatewaytest.Refused(t, w, 400, test.refuses)
				return
			}
			document := gatewaytest.JSON(t, w)
			allow(s, document["user_code"].(string))
			const kind = "&grant_type=device_code&device_code="
			tokens := gatewaytest.JSON(t, s.Post("/common/oauth2/v2.0/token", gatewaytest.Form,
				"client_id=tv"+kind+document["device_code"].(string)))
			if tokens["scope"] != test.scope ||
				!strings.Contains(payload(t, tokens["access_token"]), `"aud":"`+test.audience+`"`) {
				t.Errorf("got %q in %s, want %q for %s", tokens["scope"], payload(t, tokens["access_token"]),
					test.scope, test.audience)
			}
			if token, ok := tokens["refresh_token"].(string); ok {
				again := gatewaytest.JSON(t, s.Post("/common/oauth2/v2.0/token", gatewaytest.Form,
					"client_id=tv&grant_type=refresh_token&refresh_token="+token+"&scope="+url.QueryEscape(test.asked)))
				if again["scope"] != test.scope {
					t.Errorf("refreshed: got %v, want %q", again, test.scope)
				}
			}
		})
	}
}

// allow says yes to a code.
func allow(s *gatewaytest.Site, userCode string) {
	s.Helper()
	p := s.Upstream.Person
	g, err := s.Engine.Inspect(s.Context(), deviceauth.InspectRequest{Person: p, From: s.From, Code: userCode})
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.Engine.Answer(s.Context(),
		deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: p, From: s.From}); err != nil {
		s.Fatal(err)
	}
}

func payload(t *testing.T, token any) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token.(string), ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
