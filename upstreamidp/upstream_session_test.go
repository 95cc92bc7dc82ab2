package upstreamidp

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// known signs a person in and stores their refresh token.
func known(t *testing.T, b idptest.Behaviour) (*idptest.Provider, *Provider, *memstore.Store, *deviceauth.Person) {
	t.Helper()
	vault := memstore.New()
	idp, p := setUp(t, func(c *Config) {
		c.Revalidate, c.Documents, c.Key = true, vault, func() [32]byte { return [32]byte{1} }
	})
	b.Refresh = true
	person, err := signIn(t, idp, p, b)
	if err != nil {
		t.Fatal(err)
	}
	return idp, p, vault, person
}

// protocol 23
func TestPersonIsWhoTheProviderSaysNow(t *testing.T) {
	idp, p, _, person := known(t, idptest.Behaviour{Claims: map[string]any{"groups": []string{"staff"}, "sid": "s1"},
		Userinfo: map[string]any{}})
	for _, noID := range []bool{false, true} {
		idp.Behave(idptest.Behaviour{Refresh: true, NoID: noID, Claims: map[string]any{"groups": []string{"guests"}},
			Userinfo: map[string]any{"groups": []string{"guests"}, "name": "Alice"}})
		now, err := p.Revalidate(t.Context(), person)
		if err != nil {
			t.Fatal(err)
		}
		if groups := now.Claims.Strings("groups"); len(groups) != 1 || groups[0] != "guests" ||
			now.Claims.String("name") != "Alice" {
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
func TestDisabledPersonLosesAllDevices(t *testing.T) {
	idp, p, _, person := known(t, idptest.Behaviour{})
	idp.Behave(idptest.Behaviour{Refresh: true, Disabled: true})
	for range 2 {
		if _, err := p.Revalidate(t.Context(), person); deviceauth.AsError(err) == nil {
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
	if another.cfg.Documents != deviceauth.Documents(vault) {
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
	if _, err := p.Revalidate(t.Context(), person); err == nil || deviceauth.AsError(err) != nil {
		t.Errorf("got %v, want a fault", err)
	}
	idp.Behave(idptest.Behaviour{Refresh: true})
	if _, err := p.Revalidate(t.Context(), person); err != nil {
		t.Errorf("when it is back: %v", err)
	}
}

// What fails after the trade must not cost the token that was traded for.
func TestTradedTokenIsKeptWhateverFailsThen(t *testing.T) {
	hangsUp := func(p *Provider, person *deviceauth.Person) error {
		ctx, cancel := context.WithCancel(t.Context())
		transport := p.cfg.HTTPClient.Transport
		p.cfg.HTTPClient.Transport = onToken{RoundTripper: transport, call: cancel}
		defer func() { p.cfg.HTTPClient.Transport = transport }()
		_, err := p.Revalidate(ctx, person)
		return err
	}
	tests := []struct {
		name string
		fail func(*idptest.Provider, *Provider, *deviceauth.Person) error
	}{
		{"userinfo is down", func(idp *idptest.Provider, p *Provider, person *deviceauth.Person) error {
			idp.Behave(idptest.Behaviour{Refresh: true, NoID: true, Userinfo: map[string]any{}, UserinfoDown: true})
			_, err := p.Revalidate(t.Context(), person)
			return err
		}},
		{"the keys are", func(idp *idptest.Provider, p *Provider, person *deviceauth.Person) error {
			idp.RotateKey()
			idp.Behave(idptest.Behaviour{Refresh: true, KeysDown: true})
			_, err := p.Revalidate(t.Context(), person)
			return err
		}},
		{"the device hangs up", func(_ *idptest.Provider, p *Provider, person *deviceauth.Person) error {
			return hangsUp(p, person)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			idp, p, _, person := known(t, idptest.Behaviour{Userinfo: map[string]any{}})
			if err := test.fail(idp, p, person); deviceauth.AsError(err) != nil {
				t.Errorf("the person is gone: %v", err)
			}
			idp.Behave(idptest.Behaviour{Refresh: true})
			// A request right afterwards may get the previous failure to fetch keys
			// again, because go-oidc returns it until it has removed it.
			_, err := p.Revalidate(t.Context(), person)
			for range 1000 {
				if err == nil || deviceauth.AsError(err) != nil {
					break
				}
				_, err = p.Revalidate(t.Context(), person)
			}
			if err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// onToken calls when the token endpoint has answered.
type onToken struct {
	http.RoundTripper
	call func()
}

func (o onToken) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := o.RoundTripper.RoundTrip(r)
	if r.URL.Path == "/token" {
		o.call()
	}
	return answer, err
}

func TestWhatUserinfoNoLongerSaysIsGone(t *testing.T) {
	all := map[string]any{"groups": []string{"owners"}, "email": "alice@example.com", "email_verified": true}
	idp, p, _, person := known(t, idptest.Behaviour{Claims: map[string]any{"name": "Alice"}, Userinfo: all})
	ask := func(info map[string]any) deviceauth.Claims {
		t.Helper()
		idp.Behave(idptest.Behaviour{Refresh: true, NoID: true, Userinfo: info})
		now, err := p.Revalidate(t.Context(), person)
		if err != nil {
			t.Fatal(err)
		}
		return now.Claims
	}
	if claims := ask(all); !claims.Bool("email_verified") || len(claims.Strings("groups")) != 1 {
		t.Errorf("nothing changed, and the claims are %v", claims)
	}
	claims := ask(map[string]any{"email": "boss@example.com"})
	if claims["groups"] != nil || claims["email_verified"] != nil || claims.String("email") != "boss@example.com" {
		t.Errorf("claims %v: a group that was taken away, or the proof of another address", claims)
	}
	if claims.String("name") != "Alice" {
		t.Errorf("claims %v: what only the ID token said is lost", claims)
	}
}

func TestSignInThatCrossesAnAnswerKnowsBetter(t *testing.T) {
	idp, p, _, person := known(t, idptest.Behaviour{})
	v, mine, err := p.lease(t.Context(), person.Subject)
	if err != nil || !mine {
		t.Fatalf("no lease: %v", err)
	}
	// its token replaces the one that is about to be traded
	if _, err := signIn(t, idp, p, idptest.Behaviour{Refresh: true}); err != nil {
		t.Fatal(err)
	}
	if now, err := p.settle(t.Context(), person, v, p.trade(t.Context(), person, v)); err != nil || now == nil {
		t.Errorf("the device is lost: %v", err)
	}
	if _, err := p.Revalidate(t.Context(), person); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestLeaseOfAGatewayWithAnotherIdeaOfTheTimeIsNoLease(t *testing.T) {
	_, p, _, person := known(t, idptest.Behaviour{})
	err := p.change(t.Context(), person.Subject,
		func(v *upstreamSession) error { v.Leased = time.Now().Add(time.Hour); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Revalidate(t.Context(), person); err != nil {
		t.Error(err)
	}
}

func TestRefreshTokenIsSealed(t *testing.T) {
	_, p, vault, person := known(t, idptest.Behaviour{})
	token := ""
	err := vault.UpdateDocument(t.Context(), upstreamSessionName(person.Subject), func(old []byte) ([]byte, error) {
		token = string(old)
		return old, nil
	})
	if err != nil || !strings.Contains(token, `"token":"`) {
		t.Fatalf("%v: no token in %s", err, token)
	}
	var v *upstreamSession
	if err := p.change(t.Context(), person.Subject,
		func(now *upstreamSession) error { v = now; return nil }); err != nil {
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
	idp, p := setUp(t, func(c *Config) {
		c.Revalidate, c.Documents, c.Key = true, memstore.New(), func() [32]byte { return [32]byte{1} }
	})
	_, err := signIn(t, idp, p, idptest.Behaviour{})
	if refusal := deviceauth.AsError(err); refusal == nil || refusal.Code != "sign_in_no_refresh" {
		t.Errorf("got %v", err)
	}
}

func TestPersonFromBeforeRevalidateStays(t *testing.T) {
	_, p := setUp(t, func(c *Config) {
		c.Revalidate, c.Documents, c.Key = true, memstore.New(), func() [32]byte { return [32]byte{1} }
	})
	person := &deviceauth.Person{Subject: "work|1"}
	if now, err := p.Revalidate(t.Context(), person); err != nil || now != person {
		t.Errorf("got %+v, %v", now, err)
	}
}

func TestFreshSignInIsAskedForAndChecked(t *testing.T) {
	idp, p := setUp(t, nil)
	attempt := begun
	attempt.FreshSignIn, attempt.Began, attempt.Code = true, time.Now(), "BCDFGHJK"
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
	if err != nil || person.Fresh != "BCDFGHJK" || !person.SignedIn.Equal(attempt.Began) {
		t.Errorf("got %+v, %v", person, err)
	}
	if person, err := try(idptest.Behaviour{Stale: true}); !errors.Is(err, errUnproven) {
		t.Errorf("an old sign-in: got %+v, %v", person, err)
	}
	// Trying again would not help, so the page must not lead back.
	future := map[string]any{"auth_time": time.Now().Add(time.Hour).Unix()}
	if person, err := try(idptest.Behaviour{Claims: future}); !errors.Is(err, errUnproven) {
		t.Errorf("a sign-in in the future: got %+v, %v", person, err)
	}
	if person, err := try(idptest.Behaviour{Claims: map[string]any{"auth_time": nil}}); !errors.Is(err, errNoTime) {
		t.Errorf("no auth_time: got %+v, %v", person, err)
	}
}

func TestLogoutTokens(t *testing.T) {
	idp, p := setUp(t, nil)
	old := time.Now().Add(-time.Hour).Truncate(time.Second).UTC()
	tests := []struct {
		name   string
		claims map[string]any
		want   *deviceauth.SignOut
	}{
		{"a subject", map[string]any{"sub": "1"}, &deviceauth.SignOut{Upstream: "work", Subject: "work|1"}},
		{"a session", map[string]any{"sid": "s"}, &deviceauth.SignOut{Upstream: "work", Session: "s"}},
		{"one of a while ago", map[string]any{"sub": "1", "iat": old.Unix()},
			&deviceauth.SignOut{Upstream: "work", Subject: "work|1", At: old.Add(skew)}},
		{"neither", nil, nil},
		{"a nonce, as an ID token has", map[string]any{"sub": "1", "nonce": "n"}, nil},
		{"no event", map[string]any{"sub": "1", "events": nil}, nil},
		{"another event", map[string]any{"sub": "1", "events": map[string]any{"x": map[string]any{}}}, nil},
		{"another client", map[string]any{"sub": "1", "aud": "x"}, nil},
		{"another provider", map[string]any{"sub": "1", "iss": "https://evil.example"}, nil},
		{"too old", map[string]any{"sub": "1", "exp": time.Now().Add(-2 * skew).Unix()}, nil},
		{"no time", map[string]any{"sub": "1", "iat": nil}, nil},
		{"no id", map[string]any{"sub": "1", "jti": nil}, nil},
	}
	for _, test := range tests {
		got, err := p.SignOut(t.Context(), idp.LogoutToken(test.claims))
		if test.want != nil && test.want.At.IsZero() && got != nil && time.Since(got.At) < time.Minute {
			test.want.At = got.At
		}
		if test.want == nil && deviceauth.AsError(err) == nil ||
			test.want != nil && (err != nil || *got != *test.want) {
			t.Errorf("%s: got %+v, %v", test.name, got, err)
		}
	}
	idp.Behave(idptest.Behaviour{OtherKey: true})
	keys := idp.Requests("/keys")
	for range 50 {
		if _, err := p.SignOut(t.Context(), idp.LogoutToken(map[string]any{"sub": "1"})); err == nil {
			t.Error("another's signature is accepted")
		}
	}
	if n := idp.Requests("/keys") - keys; n > 1 {
		t.Errorf("whoever posts makes us fetch the keys: %d times", n)
	}
	idp.Behave(idptest.Behaviour{})
	if _, err := p.SignOut(t.Context(), idp.LogoutToken(map[string]any{"sub": "1"})); err != nil {
		t.Errorf("a good one among them: %v", err)
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
