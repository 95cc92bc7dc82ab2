package deviceauth_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// protocol 9
func TestResourceMeansTheAudienceThatItLiesWithin(t *testing.T) {
	known := []string{"https://API.example.com", "https://api.example.com/v2/", "http://localhost:8080",
		"urn:example:api", "api://1234/x", "https://q.example/a?x=1"}
	tests := []struct{ asked, want string }{
		{"https://API.example.com", "https://API.example.com"},
		{"https://api.example.com", "https://API.example.com"},
		{"https://api.example.com/", "https://API.example.com"},
		{"HTTPS://api.example.com:443", "https://API.example.com"},
		{"https://api.example.com/v1/things?x=y", "https://API.example.com"},
		{"https://api.example.com/v22", "https://API.example.com"},
		{"https://api.example.com/v2", "https://api.example.com/v2/"},
		{"https://api.example.com/v2/", "https://api.example.com/v2/"},
		{"https://api.example.com/v2/products/17", "https://api.example.com/v2/"},
		{"http://localhost:8080/mcp", "http://localhost:8080"},
		{"http://LOCALHOST:8080/", "http://localhost:8080"},
		{"urn:example:api", "urn:example:api"},
		{"api://1234/x/read", "api://1234/x"},
		{"https://q.example/a?x=1", "https://q.example/a?x=1"},
		{"https://q.example/a", ""},
		{"https://q.example/a/b?x=1", ""},
		{"https://api.example.com:8443", ""},
		{"http://api.example.com", ""},
		{"http://localhost", ""},
		{"https://api.example.com.evil.example/v2", ""},
		{"https://api.example.com@evil.example/v2", ""},
		{"https://api.example.com/v2#x", ""},
		{"https://api.example.com/v2/#", ""},
		{"https://other.example/v2/../v2", ""},
		{"https://api.example.com/v2/../v1", ""},
		{"https://api.example.com/v2/%2e%2e/v1", ""},
		{"urn:example:api:more", ""},
		{"/v2", ""},
		{"api.example.com", ""},
	}
	for _, test := range tests {
		t.Run(test.asked, func(t *testing.T) {
			if got, ok := deviceauth.AudienceOf(test.asked, known); got != test.want || ok != (test.want != "") {
				t.Errorf("got %q, %v, want %q", got, ok, test.want)
			}
		})
	}
}

// isFor checks the audience of an access token.
func (w *world) isFor(t *deviceauth.Tokens, want ...string) {
	w.Helper()
	if got := w.audienceOf(t.AccessToken); !slices.Equal(got, want) {
		w.Errorf("got %q, want %q", got, want)
	}
}

// protocol 9, 22
func TestResourceNarrowsAndNeverWidens(t *testing.T) {
	const api, v2, files = "https://api.example.com", "https://api.example.com/v2", "https://files.example.com/"
	in(t, func(w *world) {
		ask := func(resource ...string) (*deviceauth.Authorization, error) {
			return w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here, Audience: resource})
		}
		redeem := func(a *deviceauth.Authorization, resource ...string) (*deviceauth.Tokens, error) {
			code := a.DeviceCode.Reveal()
			return w.Redeem(w.Context(), deviceauth.RedeemRequest{Client: tv, DeviceCode: code, Resource: resource})
		}
		refresh := func(t *deviceauth.Tokens, resource ...string) (*deviceauth.Tokens, error) {
			return w.Refresh(w.Context(),
				deviceauth.RefreshRequest{Client: tv, RefreshToken: t.RefreshToken.Reveal(), Resource: resource})
		}
		_, err := ask("https://evil.example/\"x\\\n")
		w.wants("invalid_target", err)
		text := deviceauth.AsError(err).Description
		if !strings.Contains(text, "https://evil.example/'x??") || !strings.Contains(text, files) {
			w.Errorf("it does not say which, or what is known: %s", text)
		}
		a, err := ask("https://api.example.com/v2/products", "https://FILES.example.com")
		w.wants("", err)
		_, err = redeem(a, "https://api.example.com/v1")
		w.wants("invalid_target", err) // at once, and not when the person has answered
		w.answer(a, true)
		_, err = redeem(a, "https://api.example.com/v1")
		w.wants("invalid_target", err)
		tokens, err := redeem(a, "https://api.example.com/v2/")
		w.wants("", err) // the refusal consumed nothing
		w.isFor(tokens, v2)
		w.wants("", w.admit(tokens.AccessToken))

		tokens, err = refresh(tokens)
		w.wants("", err)
		w.isFor(tokens, v2, files)
		narrow, err := refresh(tokens, "https://files.example.com/a/b")
		w.wants("", err)
		w.isFor(narrow, files)
		_, err = refresh(narrow, api)
		w.wants("invalid_target", err)
		whole, err := refresh(narrow, v2, files)
		w.wants("", err)
		w.isFor(whole, v2, files)
	}, func(c *deviceauth.Config) { c.Audience, c.Wait = []string{api, v2, files}, -1 })
}

// protocol 9, 30
func TestSpellingsOfAnAudienceAreOne(t *testing.T) {
	in(t, func(w *world) {
		tokens := w.tokens()
		for _, want := range []string{"https://api.example.com", "https://api.example.com/",
			"HTTPS://API.example.com:443"} {
			_, err := w.ValidateToken(w.Context(), tokens.AccessToken.Reveal(),
				deviceauth.Requirement{Audience: []string{want}})
			w.wants("", err)
		}
		for _, want := range []string{"https://api.example.com/v2", "http://api.example.com",
			"https://api.example.com:8443"} {
			_, err := w.ValidateToken(w.Context(), tokens.AccessToken.Reveal(),
				deviceauth.Requirement{Audience: []string{want}})
			w.wants("invalid_token", err)
		}
		w.anew(func(c *deviceauth.Config) { c.Audience = []string{"https://API.example.com/"} })
		again, err := w.refresh(tokens.RefreshToken, "")
		w.wants("", err)
		if got := w.audienceOf(again.AccessToken); !slices.Equal(got, []string{"https://API.example.com/"}) {
			w.Errorf("got %q, want the spelling of the configuration", got)
		}
	})
}

func FuzzAudienceOf(f *testing.F) {
	f.Add("https://api.example.com/v2/x")
	f.Add("https://api.example.com/v2/%2e%2e/x")
	f.Add("https://api.example.com\\@evil.example/v2")
	f.Fuzz(func(t *testing.T, asked string) {
		got, ok := deviceauth.AudienceOf(asked, []string{"https://api.example.com/v2"})
		if ok != (got != "") {
			t.Fatalf("%q, %v", got, ok)
		}
		lower := strings.ReplaceAll(strings.ToLower(asked), ":443", "")
		lower = strings.ReplaceAll(lower, ".com:/", ".com/")
		if ok && !strings.HasPrefix(lower, "https://api.example.com/v2") {
			t.Errorf("%q is taken for %q", asked, got)
		}
	})
}
