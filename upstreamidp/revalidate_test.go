package upstreamidp

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// known signs somebody in whose refresh token is kept.
func known(t *testing.T, b idptest.Behaviour) (*idptest.Provider, *Provider, *memstore.Store, *deviceauth.Person) {
	t.Helper()
	vault := memstore.New()
	idp, p := setUp(t, func(c *Config) { c.Revalidate, c.Vault, c.Key = true, vault, [32]byte{1} })
	b.Refresh = true
	person, err := signIn(t, idp, p, b)
	if err != nil {
		t.Fatal(err)
	}
	return idp, p, vault, person
}

// protocol 23
func TestPersonIsWhoTheProviderSaysNow(t *testing.T) {
	idp, p, _, person := known(t, idptest.Behaviour{Claims: map[string]any{"groups": []string{"staff"}, "sid": "s1"}, Userinfo: map[string]any{}})
	for _, noID := range []bool{false, true} {
		idp.Behave(idptest.Behaviour{Refresh: true, NoID: noID, Claims: map[string]any{"groups": []string{"guests"}}, Userinfo: map[string]any{"groups": []string{"guests"}, "name": "Alice"}})
		now, err := p.Revalidate(t.Context(), person)
		if err != nil {
			t.Fatal(err)
		}
		if groups := now.Claims.Strings("groups"); len(groups) != 1 || groups[0] != "guests" || now.Claims.String("name") != "Alice" {
			t.Errorf("without an ID token %v: claims %v", noID, now.Claims)
		}
		if now.Subject != person.Subject || now.Session != "s1" || now.SignedIn != person.SignedIn {
			t.Errorf("without an ID token %v: another sign-in: %+v", noID, now)
		}
	}
	if person.Claims.Strings("groups")[0] != "staff" {
		t.Error("the person asked about was changed")
	}
}

// protocol 23
func TestPersonWhoIsDisabledIsNobodyForAllTheirDevices(t *testing.T) {
	idp, p, _, person := known(t, idptest.Behaviour{})
	idp.Behave(idptest.Behaviour{Refresh: true, Disabled: true})
	for range 2 {
		if _, err := p.Revalidate(t.Context(), person); deviceauth.Refused(err) == nil {
			t.Errorf("got %v", err)
		}
	}
	if n := idp.Requests("/token"); n != 2 {
		t.Errorf("the provider was asked %d times, want once for the code and once for the person", n)
	}
	again, err := signIn(t, idp, p, idptest.Behaviour{Refresh: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Revalidate(t.Context(), again); err != nil {
		t.Errorf("after a new sign-in: %v", err)
	}
}

// The provider ends a person's tokens where one is presented twice.
func TestDevicesAskOneAfterTheOther(t *testing.T) {
	_, p, vault, person := known(t, idptest.Behaviour{})
	another, err := New(p.cfg) // another gateway
	if err != nil {
		t.Fatal(err)
	}
	if another.cfg.Vault != deviceauth.Vault(vault) {
		t.Fatal("the gateways share no vault")
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			if _, err := []*Provider{p, another}[i%2].Revalidate(t.Context(), person); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := p.Revalidate(t.Context(), person); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestProviderThatCannotBeAskedDecidesNothing(t *testing.T) {
	idp, p, _, person := known(t, idptest.Behaviour{})
	idp.Behave(idptest.Behaviour{Down: true})
	if _, err := p.Revalidate(t.Context(), person); err == nil || deviceauth.Refused(err) != nil {
		t.Errorf("got %v, want a fault", err)
	}
	idp.Behave(idptest.Behaviour{Refresh: true})
	if _, err := p.Revalidate(t.Context(), person); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

func TestRefreshTokenIsSealed(t *testing.T) {
	_, p, vault, person := known(t, idptest.Behaviour{})
	token := ""
	err := vault.Change(t.Context(), voucherName(person.Subject), func(old []byte) ([]byte, error) {
		token = string(old)
		return old, nil
	})
	if err != nil || !strings.Contains(token, `"token":"`) {
		t.Fatalf("%v: no token in %s", err, token)
	}
	var v *voucher
	if err := p.change(t.Context(), person.Subject, func(now *voucher) error { v = now; return nil }); err != nil {
		t.Fatal(err)
	}
	plain := p.open(person.Subject, v.Token)
	if plain == "" || strings.Contains(token, plain) {
		t.Errorf("the token %q can be read in %s", plain, token)
	}
	if p.open("work|2", v.Token) != "" {
		t.Error("one person's token opens as another's")
	}
}

func TestSignInWithoutARefreshTokenIsRefused(t *testing.T) {
	idp, p := setUp(t, func(c *Config) { c.Revalidate, c.Vault = true, memstore.New() })
	_, err := signIn(t, idp, p, idptest.Behaviour{})
	if refusal := deviceauth.Refused(err); refusal == nil || refusal.Code != "sign_in_no_refresh" {
		t.Errorf("got %v", err)
	}
}

func TestPersonFromBeforeRevalidateStays(t *testing.T) {
	_, p := setUp(t, func(c *Config) { c.Revalidate, c.Vault = true, memstore.New() })
	person := &deviceauth.Person{Subject: "work|1"}
	if now, err := p.Revalidate(t.Context(), person); err != nil || now != person {
		t.Errorf("got %+v, %v", now, err)
	}
}

func TestFreshSignInIsAskedForAndChecked(t *testing.T) {
	idp, p := setUp(t, nil)
	attempt := begun
	attempt.Fresh, attempt.Began = true, time.Now()
	try := func(b idptest.Behaviour) (*deviceauth.Person, error) {
		idp.Behave(b)
		to, err := p.Begin(t.Context(), attempt)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(to)
		if err != nil || u.Query().Get("prompt") != "login" || u.Query().Get("max_age") != "0" {
			t.Errorf("%v: asks with %s", err, to)
		}
		answer, err := idp.Visit(to)
		if err != nil {
			t.Fatal(err)
		}
		return p.Finish(t.Context(), attempt, answer)
	}
	person, err := try(idptest.Behaviour{})
	if err != nil || !person.Fresh || !person.SignedIn.Equal(attempt.Began) {
		t.Errorf("got %+v, %v", person, err)
	}
	for name, b := range map[string]idptest.Behaviour{"an old sign-in": {Stale: true}, "no auth_time": {Claims: map[string]any{"auth_time": nil}}} {
		if person, err := try(b); !errors.Is(err, errUnproven) {
			t.Errorf("%s: got %+v, %v", name, person, err)
		}
	}
}

func TestLogoutTokens(t *testing.T) {
	idp, p := setUp(t, nil)
	tests := []struct {
		name   string
		claims map[string]any
		want   *deviceauth.Logout
	}{
		{"a subject", map[string]any{"sub": "1", "jti": "j"}, &deviceauth.Logout{Upstream: "work", Subject: "work|1", Token: "j"}},
		{"a session", map[string]any{"sid": "s", "jti": "j"}, &deviceauth.Logout{Upstream: "work", Session: "s", Token: "j"}},
		{"neither", nil, nil},
		{"a nonce, as an ID token has", map[string]any{"sub": "1", "nonce": "n"}, nil},
		{"no event", map[string]any{"sub": "1", "events": nil}, nil},
		{"another event", map[string]any{"sub": "1", "events": map[string]any{"x": map[string]any{}}}, nil},
		{"another client", map[string]any{"sub": "1", "aud": "x"}, nil},
		{"another provider", map[string]any{"sub": "1", "iss": "https://evil.example"}, nil},
		{"too old", map[string]any{"sub": "1", "exp": time.Now().Add(-2 * skew).Unix()}, nil},
		{"no id", map[string]any{"sub": "1", "jti": nil}, nil},
	}
	for _, test := range tests {
		got, err := p.Logout(t.Context(), idp.LogoutToken(test.claims))
		if test.want == nil && deviceauth.Refused(err) == nil || test.want != nil && (err != nil || *got != *test.want) {
			t.Errorf("%s: got %+v, %v", test.name, got, err)
		}
	}
	idp.Behave(idptest.Behaviour{OtherKey: true})
	if _, err := p.Logout(t.Context(), idp.LogoutToken(map[string]any{"sub": "1"})); deviceauth.Refused(err) == nil {
		t.Errorf("another's signature: %v", err)
	}
}

func TestProviderThatWentAwayIsNoticed(t *testing.T) {
	idp, p := setUp(t, nil)
	now := time.Now()
	p.discovery.now = func() time.Time { return now }
	if err := p.Reachable(t.Context()); err != nil {
		t.Fatal(err)
	}
	idp.Behave(idptest.Behaviour{Down: true})
	if err := p.Reachable(t.Context()); err != nil || idp.Requests(wellKnown) != 1 {
		t.Errorf("a moment later: %v, asked %d times", err, idp.Requests(wellKnown))
	}
	now = now.Add(recent)
	if err := p.Reachable(t.Context()); err == nil {
		t.Error("nobody noticed")
	}
	if _, err := p.Begin(t.Context(), begun); err != nil {
		t.Errorf("what is known is forgotten: %v", err)
	}
	idp.Behave(idptest.Behaviour{})
	now = now.Add(firstPause)
	if err := p.Reachable(t.Context()); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}
