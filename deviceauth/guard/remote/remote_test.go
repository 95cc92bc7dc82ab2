package remote_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard/remote"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// A far is an authorization server, reached over HTTP, and a guard's view of it.
// Nothing of that leaves the test's bubble: it is the guard's transport, too.
type far struct {
	*testing.T
	*remote.Server
	engine  *deviceauth.Engine
	keys    *keyring.Keyring
	handler http.Handler
	down    atomic.Bool

	mu       sync.Mutex
	requests map[string]int
	slow     map[string]time.Duration // how long an endpoint takes
	instead  map[string]string        // what an endpoint answers instead; "": 502
}

const (
	issuer     = "https://login.example.com"
	cache      = 500 * time.Millisecond
	wellKnown  = "/.well-known/oauth-authorization-server"
	jwks       = "/oauth2/jwks"
	introspect = "/oauth2/introspect"
)

// in runs a test where time is made. What the guard still asks when it is over
// ends by itself, by its time-out, or the bubble would tell.
func in(t *testing.T, test func(f *far)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(newFar(t))
		time.Sleep(10 * time.Second)
	})
}

// RoundTrip is the way to the server.
func (f *far) RoundTrip(r *http.Request) (*http.Response, error) {
	path := r.URL.Path
	f.mu.Lock()
	f.requests[path]++
	slow := f.slow[path]
	text, instead := f.instead[path]
	f.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	w := httptest.NewRecorder()
	switch {
	case f.down.Load() || instead && text == "":
		http.Error(w, "down", http.StatusBadGateway)
	case instead:
		w.WriteString(text)
	default:
		f.handler.ServeHTTP(w, r)
	}
	return w.Result(), nil
}

// takes makes an endpoint slow.
func (f *far) takes(path string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow[path] = d
}

// answers makes an endpoint say something else, or fail.
func (f *far) answers(path, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instead[path] = text
}

// heals ends what takes and answers began.
func (f *far) heals() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.slow)
	clear(f.instead)
}

func newFar(t *testing.T) *far {
	t.Helper()
	f := newFarAt(t, issuer)
	f.Server = f.view(remote.Config{})
	return f
}

func newFarAt(t *testing.T, issuer string) *far {
	t.Helper()
	f := &far{T: t, requests: map[string]int{}, slow: map[string]time.Duration{}, instead: map[string]string{}}
	store := memstore.New()
	var err error
	if f.keys, err = keyring.Open(t.Context(), store, ""); err != nil {
		t.Fatal(err)
	}
	f.engine, err = deviceauth.New(deviceauth.Config{
		Issuer: issuer, Store: store, Signer: f.keys, RefreshKey: f.keys.Source(keyring.PurposeRefresh), Allow: map[string][]deviceauth.Allow{"work": nil},
		Audience: []string{issuer, issuer + "/other"},
		Clients: []deviceauth.Client{
			{ID: "tv", Public: true, Scope: "openid read write"},
			{ID: "edge", Secret: "s3:cret&", ResourceServer: true},
			{ID: "meter", Secret: "meter", Scope: "read"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if f.handler, err = gateway.NewHandler(gateway.HandlerConfig{Engine: f.engine, Keys: f.keys, CookieKey: f.keys.Source(keyring.PurposeCookie)}); err != nil {
		t.Fatal(err)
	}
	return f
}

// view is a guard's, of a configuration that lacks what all have.
func (f *far) view(c remote.Config) *remote.Server {
	f.Helper()
	c.Issuer, c.HTTP = issuer, &http.Client{Transport: f}
	if c.ClientID == "" {
		c.ClientID, c.ClientSecret = "edge", "s3:cret&"
	}
	s, err := remote.New(c)
	if err != nil {
		f.Fatal(err)
	}
	return s
}

var here = netip.MustParseAddr("192.0.2.7")

// connect gives a device tokens.
func (f *far) connect(audience ...string) *deviceauth.Tokens {
	f.Helper()
	tv := deviceauth.Credentials{ClientID: "tv"}
	person := &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice", Claims: deviceauth.Claims{"email": "alice@example.com", "groups": []any{"staff"}}}
	a, err := f.engine.Authorize(f.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here, Scope: "openid read", Audience: audience})
	if err != nil {
		f.Fatal(err)
	}
	g, err := f.engine.Inspect(f.Context(), deviceauth.InspectRequest{Person: person, From: here, Code: a.UserCode})
	if err == nil {
		_, err = f.engine.Answer(f.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: person, From: here})
	}
	if err != nil {
		f.Fatal(err)
	}
	tokens, err := f.engine.Redeem(f.Context(), deviceauth.RedeemRequest{Client: tv, DeviceCode: a.DeviceCode.Reveal()})
	if err != nil {
		f.Fatal(err)
	}
	return tokens
}

// A server from before people with such names were refused may vouch for one.
//
// protocol 33
func TestUncleanPersonOfTheServersIsRefused(t *testing.T) {
	for name, answer := range map[string]struct{ text, want, groups string }{
		"a clean one":         {`"person": {"sub": "work|1", "user": "Zoë", "claims": {"groups": ["staff", "x,admins", "ops "]}}`, "", "staff"},
		"in the user":         {`"person": {"sub": "work|1", "user": "alice\u200b"}`, "invalid_token", ""},
		"in the subject":      {`"person": {"sub": "work|1 ", "user": "alice"}`, "invalid_token", ""},
		"in the user's name":  {`"username": "alice "`, "invalid_token", ""},
		"repaired at sign-in": {`"person": {"sub": "work|1", "user": "alice", "claims": {"preferred_username": "alice\u0007"}}`, "invalid_token", ""},
	} {
		in(t, func(f *far) {
			token := f.connect().AccessToken.Reveal()
			f.answers(introspect, `{"active": true, `+answer.text+`}`)
			id := f.admits(answer.want, token, deviceauth.Requirement{})
			if id != nil && (id.Claim("groups") != answer.groups || id.Claim("user") != "Zoë") {
				t.Errorf("%s: %q, %q", name, id.Claim("user"), id.Claim("groups"))
			}
		})
	}
}

// admits wants an answer: "" for a yes, else a refusal's code, or "fault".
func (f *far) admits(want, token string, need deviceauth.Requirement) *deviceauth.Identity {
	f.Helper()
	id, err := f.ValidateToken(f.Context(), token, need)
	if got := verdict(err); got != want {
		f.Errorf("got %q (%v), want %q", got, err, want)
	}
	return id
}

func verdict(err error) string {
	if refusal := deviceauth.AsError(err); refusal != nil {
		return refusal.Code
	} else if err != nil {
		return "fault"
	}
	return ""
}

// took wants to be done within a time, none by default.
func (f *far) took(want time.Duration, what func()) {
	f.Helper()
	start := time.Now()
	what()
	if took := time.Since(start); took != want {
		f.Errorf("took %v, want %v", took, want)
	}
}

// wasAsked wants a number of requests since the last look.
func (f *far) wasAsked(path string, want int) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := f.requests[path]; got != want {
		f.Errorf("%s was asked %d times, want %d", path, got, want)
	}
	f.requests[path] = 0
}

// claims are those of a token, changed.
func (f *far) claims(token string, change func(jwt.MapClaims)) jwt.MapClaims {
	f.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(token, claims); err != nil {
		f.Fatal(err)
	}
	change(claims)
	return claims
}

func same(jwt.MapClaims) {}

// sign makes a token by a keyring.
func (f *far) sign(by *keyring.Keyring, typ string, claims jwt.MapClaims) string {
	f.Helper()
	text, err := by.Sign(typ, claims)
	if err != nil {
		f.Fatal(err)
	}
	return text
}

// stranger is a keyring that nobody publishes.
func (f *far) stranger() *keyring.Keyring {
	f.Helper()
	k, err := keyring.Open(f.Context(), memstore.New(), "")
	if err != nil {
		f.Fatal(err)
	}
	return k
}

// protocol 25, 29, 32
func TestGuardFarAwayKnowsWhoAsks(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		id := f.admits("", token, deviceauth.Requirement{Scope: "read"})
		if id.Person.User != "alice" || id.Person.Claims.String("email") != "alice@example.com" || id.ClientID != "tv" || id.Scope != "openid read" {
			f.Errorf("got %+v of %+v", id, id.Person)
		}
		f.admits("insufficient_scope", token, deviceauth.Requirement{Scope: "write"})
		f.admits("invalid_token", token, deviceauth.Requirement{Audience: []string{issuer + "/other"}})
		f.admits("", f.connect(issuer+"/other").AccessToken.Reveal(), deviceauth.Requirement{Audience: []string{issuer + "/other"}})
	})
}

// A client that is no guard learns whether a token lives, and not who uses it.
//
// protocol 25
func TestOnlyGuardsLearnWhoStandsBehindAToken(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.Server = f.view(remote.Config{ClientID: "meter", ClientSecret: "meter"})
		if id := f.admits("", token, deviceauth.Requirement{}); id.Person.User != "alice" || id.Person.Claims != nil {
			f.Errorf("a device's client learns %+v", id.Person)
		}
		f.Server = f.view(remote.Config{ClientID: "edge", ClientSecret: "wrong"})
		f.admits("fault", token, deviceauth.Requirement{})
	})
}

func TestGuardIsNoDevice(t *testing.T) {
	in(t, func(f *far) {
		_, err := f.engine.Authorize(f.Context(), deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "edge", Secret: "s3:cret&", Method: deviceauth.AuthBasic}, From: here})
		if got := verdict(err); got != "unauthorized_client" {
			f.Errorf("got %v", err)
		}
	})
}

// The guard sees for itself what is wrong with a token. Here the server would
// take any, so that nothing is refused by it.
//
// protocol 30
func TestTokensThatAreNotTheServersAreRefusedUnasked(t *testing.T) {
	in(t, func(f *far) {
		tokens, second := f.connect(), f.connect().AccessToken.Reveal()
		access := tokens.AccessToken.Reveal()
		f.admits("", access, deviceauth.Requirement{})
		f.admits("", second, deviceauth.Requirement{})
		f.answers(introspect, `{"active":true}`)
		f.wasAsked(introspect, 2)
		part := func(token string, i int) string { return strings.Split(token, ".")[i] }
		ours := func(change func(jwt.MapClaims)) string {
			return f.sign(f.keys, deviceauth.TypeAccess, f.claims(access, change))
		}
		for name, token := range map[string]string{
			"nothing":               "x",
			"another's key":         f.sign(f.stranger(), deviceauth.TypeAccess, f.claims(access, same)),
			"an ID token":           tokens.IDToken.Reveal(),
			"another type":          f.sign(f.keys, deviceauth.TypeID, f.claims(access, same)),
			"another issuer":        ours(func(c jwt.MapClaims) { c["iss"] = "https://evil.example" }),
			"no audience":           ours(func(c jwt.MapClaims) { delete(c, "aud") }),
			"no subject":            ours(func(c jwt.MapClaims) { delete(c, "sub") }),
			"no end":                ours(func(c jwt.MapClaims) { delete(c, "exp") }),
			"over":                  ours(func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-61 * time.Second).Unix() }),
			"another's payload":     part(access, 0) + "." + part(second, 1) + "." + part(access, 2),
			"another's signature":   part(access, 0) + "." + part(access, 1) + "." + part(second, 2),
			"no signature":          part(access, 0) + "." + part(access, 1) + ".",
			"a grant that is no id": ours(func(c jwt.MapClaims) { c["sid"] = 7 }),
		} {
			f.Log(name)
			f.admits("invalid_token", token, deviceauth.Requirement{})
			f.wasAsked(introspect, 0)
		}
	})
}

func TestTokenOfAGrantThatIsNotThereIsRefused(t *testing.T) {
	in(t, func(f *far) {
		claims := f.claims(f.connect().AccessToken.Reveal(), func(c jwt.MapClaims) { c["sid"] = deviceauth.ID{1}.String() })
		f.admits("invalid_token", f.sign(f.keys, deviceauth.TypeAccess, claims), deviceauth.Requirement{})
		f.wasAsked(introspect, 1)
	})
}

// protocol 24
func TestRevokedDeviceIsOutWhenTheMemoryEnds(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.admits("", token, deviceauth.Requirement{})
		if err := f.engine.Revoke(f.Context(), deviceauth.RevokeRequest{Client: deviceauth.Credentials{ClientID: "tv"}, Token: token}); err != nil {
			f.Fatal(err)
		}
		time.Sleep(cache - 1)
		f.admits("", token, deviceauth.Requirement{})
		time.Sleep(time.Nanosecond)
		f.admits("invalid_token", token, deviceauth.Requirement{})
	})
}

func TestOfManyRequestsOneAsks(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.takes(introspect, 100*time.Millisecond)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() { f.admits("", token, deviceauth.Requirement{}) })
		}
		all.Wait()
		f.wasAsked(introspect, 1)
		f.wasAsked(jwks, 1)
		f.wasAsked(wellKnown, 1)
	})
}

// Whoever has given up costs the server nothing, and gets no verdict that
// nobody has spoken.
func TestWhoGivesUpAsksNothingAndWaitsForNobody(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect().AccessToken.Reveal()
		f.admits("", token, deviceauth.Requirement{})
		f.wasAsked(introspect, 1)
		time.Sleep(cache)
		gone, cancel := context.WithCancel(f.Context())
		cancel()
		for range 20 { // a select that may take either would ask before long
			if _, err := f.ValidateToken(gone, token, deviceauth.Requirement{}); !errors.Is(err, context.Canceled) {
				f.Errorf("got %v", err)
			}
		}
		f.wasAsked(introspect, 0)
		f.takes(introspect, 3*time.Second)
		go f.ValidateToken(f.Context(), token, deviceauth.Requirement{})
		synctest.Wait()
		f.took(time.Second, func() {
			hasty, cancel := context.WithTimeout(f.Context(), time.Second)
			defer cancel()
			if _, err := f.ValidateToken(hasty, token, deviceauth.Requirement{}); !errors.Is(err, context.DeadlineExceeded) {
				f.Errorf("got %v", err)
			}
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		f.wasAsked(introspect, 1)
	})
}

func TestConfigurationIsChecked(t *testing.T) {
	good := remote.Config{Issuer: "https://api.example.com", ClientID: "edge", ClientSecret: "x"}
	if _, err := remote.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*remote.Config){
		"http":      func(c *remote.Config) { c.Issuer = "http://api.example.com" },
		"no client": func(c *remote.Config) { c.ClientID = "" },
		"no secret": func(c *remote.Config) { c.ClientSecret = "" },
		"for ever":  func(c *remote.Config) { c.Cache = time.Hour },
	} {
		c := good
		change(&c)
		if _, err := remote.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Of those who wait, all but the first share a question that began when they
// were there already; nobody takes an answer from before their time.
//
// protocol 24
func TestWithoutAMemoryEveryRequestAsks(t *testing.T) {
	in(t, func(f *far) {
		f.Server = f.view(remote.Config{Cache: -1})
		token := f.connect().AccessToken.Reveal()
		for range 3 {
			f.admits("", token, deviceauth.Requirement{})
			f.wasAsked(introspect, 1)
		}
		f.takes(introspect, time.Second)
		f.took(2*time.Second, func() {
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() { f.admits("", token, deviceauth.Requirement{}) })
			}
			all.Wait()
		})
		f.wasAsked(introspect, 2)
		f.heals()
		if err := f.engine.Revoke(f.Context(), deviceauth.RevokeRequest{Client: deviceauth.Credentials{ClientID: "tv"}, Token: token}); err != nil {
			f.Fatal(err)
		}
		f.admits("invalid_token", token, deviceauth.Requirement{})
	})
}

func TestOperatorIsToldOnceOfAnAudienceThatNobodyChose(t *testing.T) {
	in(t, func(f *far) {
		token := f.connect(issuer + "/other").AccessToken.Reveal()
		var told [][]string
		tell := func(has []string) { told = append(told, has) }
		f.Server = f.view(remote.Config{OtherAudience: tell})
		f.admits("invalid_token", f.forged(token), deviceauth.Requirement{})
		f.admits("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{})
		f.admits("invalid_token", token, deviceauth.Requirement{Audience: []string{issuer}})
		f.Server = f.view(remote.Config{OtherAudience: tell, Audience: []string{issuer}})
		f.admits("invalid_token", token, deviceauth.Requirement{})
		if len(told) != 0 {
			f.Errorf("was told %v of a token that is not the server's, or where the audience is chosen", told)
		}
		f.Server = f.view(remote.Config{OtherAudience: tell})
		for range 3 {
			f.admits("invalid_token", token, deviceauth.Requirement{})
		}
		if len(told) != 1 || !slices.Equal(told[0], []string{issuer + "/other"}) {
			f.Errorf("was told %v", told)
		}
	})
}
