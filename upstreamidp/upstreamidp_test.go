package upstreamidp

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

var begun = deviceauth.Attempt{State: "state", Nonce: "nonce", Verifier: strings.Repeat("verifier", 6), RedirectURI: "https://api.example.com/device/callback"}

func setUp(t *testing.T, change func(*Config)) (*idptest.Provider, *Provider) {
	t.Helper()
	idp := idptest.Start()
	t.Cleanup(idp.Close)
	c := Config{ID: "work", Issuer: idp.URL, ClientID: idptest.ClientID, ClientSecret: idptest.ClientSecret}
	if change != nil {
		change(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return idp, p
}

// signIn goes to the provider and back.
func signIn(t *testing.T, idp *idptest.Provider, p *Provider, b idptest.Behaviour) (*deviceauth.Person, error) {
	t.Helper()
	idp.Behave(b)
	to, err := p.Begin(t.Context(), begun)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := idp.Visit(to)
	if err != nil {
		t.Fatal(err)
	}
	return p.Finish(t.Context(), begun, answer)
}

// protocol 37
func TestBeginAsksWithStateNonceAndPKCE(t *testing.T) {
	_, p := setUp(t, func(c *Config) { c.Scopes = []string{"email"} })
	attempt := begun
	attempt.Switch = true
	to, err := p.Begin(t.Context(), attempt)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"state": "state", "nonce": "nonce", "code_challenge_method": "S256", "response_type": "code", "client_id": idptest.ClientID,
		"scope": "openid email", "prompt": "select_account", "redirect_uri": begun.RedirectURI,
	} {
		if got := u.Query().Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if strings.Contains(to, begun.Verifier) {
		t.Error("the verifier is in the address")
	}
}

func TestPersonIsWhoTheProviderSays(t *testing.T) {
	idp, p := setUp(t, func(c *Config) { c.UserClaim = "preferred_username" })
	person, err := signIn(t, idp, p, idptest.Behaviour{
		Claims:   map[string]any{"sub": "4711", "name": "Alice", "auth_time": 1_700_000_000, "acr": "mfa"},
		Userinfo: map[string]any{"sub": "4711", "name": "somebody else", "preferred_username": "ali\x07ce", "groups": []string{"staff"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if person.Subject != "work|4711" || person.Upstream != "work" || person.User != "alice" || person.AuthTime.Unix() != 1_700_000_000 {
		t.Errorf("got %+v", person)
	}
	if person.Claims.String("name") != "Alice" || person.Claims.Strings("groups")[0] != "staff" || person.Claims.String("acr") != "mfa" {
		t.Errorf("claims %v: what was signed wins, what it lacks is added", person.Claims)
	}
	for _, name := range protocolClaims {
		if _, there := person.Claims[name]; there {
			t.Errorf("%s says nothing about a person", name)
		}
	}
}

// protocol 37
func TestFinishRefuses(t *testing.T) {
	all := map[string]any{"name": "Alice", "email": "a@example.com"}
	with := func(name string, value any) map[string]any { return map[string]any{"name": "Alice", name: value} }
	tests := []struct {
		name   string
		behave idptest.Behaviour
		want   string
	}{
		{"a person who cancels", idptest.Behaviour{Error: "access_denied"}, "cancelled"},
		{"another error", idptest.Behaviour{Error: "interaction_required\"<b>\x07"}, "interaction_required<b>"},
		{"another nonce", idptest.Behaviour{Claims: with("nonce", "x")}, "the nonce is"},
		{"another audience", idptest.Behaviour{Claims: with("aud", "x")}, "audience"},
		{"two audiences and another party", idptest.Behaviour{Claims: map[string]any{"aud": []string{idptest.ClientID, "x"}, "azp": "x"}}, "azp is"},
		{"two audiences and no party", idptest.Behaviour{Claims: with("aud", []string{idptest.ClientID, "x"})}, "azp is"},
		{"another issuer", idptest.Behaviour{Claims: with("iss", "https://evil.example")}, "different provider"},
		{"a token that has expired", idptest.Behaviour{Claims: with("exp", time.Now().Add(-time.Minute).Unix())}, "expired"},
		{"another access token's hash", idptest.Behaviour{Claims: with("at_hash", "x")}, "at_hash is"},
		{"no subject", idptest.Behaviour{Claims: with("sub", "")}, "sub is"},
		{"a subject without end", idptest.Behaviour{Claims: with("sub", strings.Repeat("1", 256))}, "sub is"},
		{"no signature", idptest.Behaviour{Claims: all, Unsigned: true}, "none"},
		{"another key", idptest.Behaviour{Claims: all, OtherKey: true}, "signature"},
		{"no ID token", idptest.Behaviour{NoToken: true}, "cannot be trusted"},
		{"a code that is no longer known", idptest.Behaviour{Refuse: "invalid_grant"}, "sign in again"},
		{"another provider's answer", idptest.Behaviour{TellsIss: true, WrongIss: true}, "another identity provider"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p := setUp(t, nil)
			person, err := signIn(t, idp, p, test.behave)
			if refusal := deviceauth.Refused(err); refusal == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %+v, %v; want %q", person, err, test.want)
			}
		})
	}
	idp, p := setUp(t, nil)
	if _, err := signIn(t, idp, p, idptest.Behaviour{TellsIss: true, Claims: map[string]any{"aud": []string{idptest.ClientID, "x"}, "azp": idptest.ClientID}}); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

// protocol 37
func TestAnswerOfAnotherAttemptIsRefused(t *testing.T) {
	idp, p := setUp(t, nil)
	to, err := p.Begin(t.Context(), begun)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := idp.Visit(to)
	if err != nil {
		t.Fatal(err)
	}
	other := begun
	other.State = "another"
	if _, err := p.Finish(t.Context(), other, answer); deviceauth.Refused(err) == nil {
		t.Errorf("another state: %v", err)
	}
	other = begun
	other.Verifier = strings.Repeat("stolen", 8)
	if _, err := p.Finish(t.Context(), other, answer); deviceauth.Refused(err) == nil {
		t.Errorf("a stolen code: %v", err)
	}
	if _, err := p.Finish(t.Context(), begun, url.Values{"state": {"state"}}); deviceauth.Refused(err) == nil {
		t.Errorf("no code: %v", err)
	}
}

func TestMissingUserClaimIsNamed(t *testing.T) {
	idp, p := setUp(t, func(c *Config) { c.UserClaim = "employee" })
	_, err := signIn(t, idp, p, idptest.Behaviour{})
	if refusal := deviceauth.Refused(err); refusal == nil || !strings.Contains(refusal.Description, "employee") {
		t.Errorf("got %v, want a refusal that names the claim", err)
	}
	if _, err := signIn(t, idp, p, idptest.Behaviour{Claims: map[string]any{"employee": "e7"}}); err != nil {
		t.Error(err)
	}
}

func TestUserinfoOfSomebodyElseIsIgnored(t *testing.T) {
	idp, p := setUp(t, nil)
	person, err := signIn(t, idp, p, idptest.Behaviour{Userinfo: map[string]any{"sub": "2", "groups": []string{"admins"}}})
	if err != nil || len(person.Claims.Strings("groups")) > 0 {
		t.Errorf("got %+v, %v", person, err)
	}
}

func TestProviderThatWasDownHealsByItself(t *testing.T) {
	idp, p := setUp(t, nil)
	now := time.Now()
	p.now = func() time.Time { return now }
	idp.Behave(idptest.Behaviour{Down: true})
	for range 3 {
		if _, err := p.Begin(t.Context(), begun); err == nil || deviceauth.Refused(err) != nil {
			t.Fatalf("got %v, want a fault", err)
		}
	}
	if n := idp.Requests("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("asked %d times within a moment, want once", n)
	}
	idp.Behave(idptest.Behaviour{})
	now = now.Add(maxPause)
	if _, err := p.Begin(t.Context(), begun); err != nil {
		t.Errorf("after it came back: %v", err)
	}
}

func TestWhoGivesUpTakesNothingFromTheOthers(t *testing.T) {
	idp, p := setUp(t, nil)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { p.Begin(gone, begun) })
		wg.Go(func() {
			if _, err := p.Begin(t.Context(), begun); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := idp.Requests("/.well-known/openid-configuration"); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	if _, err := signIn(t, idp, p, idptest.Behaviour{}); err != nil {
		t.Errorf("the keys cannot be fetched any more: %v", err)
	}
}

func TestNewKeyOfTheProviderIsFetched(t *testing.T) {
	idp, p := setUp(t, nil)
	for range 3 {
		if _, err := signIn(t, idp, p, idptest.Behaviour{}); err != nil {
			t.Fatal(err)
		}
		idp.RotateKey()
	}
}

func TestConfigIsRefused(t *testing.T) {
	good := Config{ID: "work", Issuer: "https://login.example.com", ClientID: "gateway"}
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"an id that breaks subjects", func(c *Config) { c.ID = "a|b" }, "lower-case"},
		{"http", func(c *Config) { c.Issuer = "http://login.example.com" }, "want https"},
		{"no URL", func(c *Config) { c.Issuer = "login.example.com" }, "want an URL"},
		{"no client", func(c *Config) { c.ClientID = "" }, "client_id"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			if err := c.Check(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if err := good.Check(); err != nil {
		t.Errorf("the good one: %v", err)
	}
	secret := Config{ClientSecret: "hunter2"}
	if text := fmt.Sprintf("%+v %#v", secret, secret); strings.Contains(text, "hunter2") {
		t.Errorf("the secret shows: %s", text)
	}
}

func FuzzReadable(f *testing.F) {
	f.Add("a \"quoted\" \\ text\x00☃")
	f.Fuzz(func(t *testing.T, text string) {
		got := readable(text)
		if len(got) > 200 || strings.ContainsAny(got, "\"\\\x00\r\n") || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q becomes %q", text, got)
		}
	})
}
