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

// A testServer is an authorization server that is reached over HTTP, with a guard's
// view of it. It is the guard's transport, too, so that nothing leaves the
// test's bubble.
type testServer struct {
	*testing.T
	*remote.Server
	engine  *deviceauth.Engine
	keys    *keyring.Keyring
	handler http.Handler
	down    atomic.Bool

	mu       sync.Mutex
	requests map[string]int
	slow     map[string]time.Duration // how long an endpoint takes
	instead  map[string]string        // what an endpoint responds instead; "": 502
}

const (
	issuer     = "https://login.example.com"
	cache      = 500 * time.Millisecond
	wellKnown  = "/.well-known/oauth-authorization-server"
	jwks       = "/oauth2/jwks"
	introspect = "/oauth2/introspect"
)

// inBubble runs a test with a synthetic clock. A request of the guard that is under
// way at the end is ended by its timeout; otherwise the bubble would report it.
func inBubble(t *testing.T, test func(f *testServer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(newTestServer(t))
		time.Sleep(10 * time.Second)
	})
}

// RoundTrip is the transport to the server.
func (f *testServer) RoundTrip(r *http.Request) (*http.Response, error) {
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

// delay makes an endpoint slow.
func (f *testServer) delay(path string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow[path] = d
}

// respondWith makes an endpoint respond with a text, or fail.
func (f *testServer) respondWith(path, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.instead[path] = text
}

// restore undoes delay and respondWith.
func (f *testServer) restore() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.slow)
	clear(f.instead)
}

func newTestServer(t *testing.T) *testServer {
	t.Helper()
	f := newTestServerAt(t, issuer)
	f.Server = f.view(remote.Config{})
	return f
}

func newTestServerAt(t *testing.T, issuer string) *testServer {
	t.Helper()
	f := &testServer{T: t, requests: map[string]int{}, slow: map[string]time.Duration{}, instead: map[string]string{}}
	store := memstore.New()
	var err error
	if f.keys, err = keyring.Open(t.Context(), store, ""); err != nil {
		t.Fatal(err)
	}
	f.engine, err = deviceauth.New(deviceauth.Config{
		Issuer: issuer, Store: store, Signer: f.keys, RefreshKey: f.keys.Source(keyring.PurposeRefresh),
		Allow:    map[string][]deviceauth.Allow{"work": nil},
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
	config := gateway.HandlerConfig{Engine: f.engine, Keys: f.keys, CookieKey: f.keys.Source(keyring.PurposeCookie)}
	if f.handler, err = gateway.NewHandler(config); err != nil {
		t.Fatal(err)
	}
	return f
}

// view is a guard's view of the server, of a configuration to which the usual
// members are added.
func (f *testServer) view(c remote.Config) *remote.Server {
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

var deviceAddr = netip.MustParseAddr("192.0.2.7")

// connect gives a device tokens.
func (f *testServer) connect(audience ...string) *deviceauth.Tokens {
	f.Helper()
	tv := deviceauth.Credentials{ClientID: "tv"}
	person := &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice", Claims: deviceauth.Claims{
		"email": "alice@example.com", "groups": []any{"staff"},
	}}
	a, err := f.engine.Authorize(f.Context(), deviceauth.AuthorizeRequest{
		Client: tv, From: deviceAddr, Scope: "openid read", Audience: audience,
	})
	if err != nil {
		f.Fatal(err)
	}
	inspect := deviceauth.InspectRequest{Person: person, From: deviceAddr, Code: a.UserCode}
	g, err := f.engine.Inspect(f.Context(), inspect)
	if err == nil {
		allow := deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: person, From: deviceAddr}
		_, err = f.engine.Answer(f.Context(), allow)
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

// A server of an older version, which accepted such names, may vouch for such a
// person.
//
// protocol 33
func TestUncleanPersonIsRefused(t *testing.T) {
	for name, test := range map[string]struct{ text, want, groups string }{
		"a clean one": {
			`"person": {"sub": "work|1", "user": "Zoë", "claims": {"groups": ["staff", "x,admins", "ops "]}}`,
			"", "staff",
		},
		"in the user":        {`"person": {"sub": "work|1", "user": "alice\u200b"}`, "invalid_token", ""},
		"in the subject":     {`"person": {"sub": "work|1 ", "user": "alice"}`, "invalid_token", ""},
		"in the user's name": {`"username": "alice "`, "invalid_token", ""},
		"repaired at sign-in": {
			`"person": {"sub": "work|1", "user": "alice", "claims": {"preferred_username": "alice\u0007"}}`,
			"invalid_token", "",
		},
	} {
		inBubble(t, func(f *testServer) {
			token := f.connect().AccessToken.Reveal()
			f.respondWith(introspect, `{"active": true, `+test.text+`}`)
			id := f.wantVerdict(test.want, token, deviceauth.Requirement{})
			if id != nil && (id.Claim("groups") != test.groups || id.Claim("user") != "Zoë") {
				t.Errorf("%s: %q, %q", name, id.Claim("user"), id.Claim("groups"))
			}
		})
	}
}

// wantVerdict wants a verdict: "" for an identity, the code of a refusal, or "fault".
func (f *testServer) wantVerdict(want, token string, need deviceauth.Requirement) *deviceauth.Identity {
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

// wantDuration wants a call to take exactly this time.
func (f *testServer) wantDuration(want time.Duration, what func()) {
	f.Helper()
	start := time.Now()
	what()
	if took := time.Since(start); took != want {
		f.Errorf("took %v, want %v", took, want)
	}
}

// wantRequests wants a number of requests at an endpoint since the last call.
func (f *testServer) wantRequests(path string, want int) {
	f.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if got := f.requests[path]; got != want {
		f.Errorf("%s was asked %d times, want %d", path, got, want)
	}
	f.requests[path] = 0
}

// claims are the claims of a token, with a change.
func (f *testServer) claims(token string, change func(jwt.MapClaims)) jwt.MapClaims {
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
func (f *testServer) sign(by *keyring.Keyring, typ string, claims jwt.MapClaims) string {
	f.Helper()
	text, err := by.Sign(typ, claims)
	if err != nil {
		f.Fatal(err)
	}
	return text
}

// unpublishedKeys is a keyring whose keys are not published.
func (f *testServer) unpublishedKeys() *keyring.Keyring {
	f.Helper()
	k, err := keyring.Open(f.Context(), memstore.New(), "")
	if err != nil {
		f.Fatal(err)
	}
	return k
}

// protocol 25, 29, 32
func TestRemoteGuardIdentifiesTheClient(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		id := f.wantVerdict("", token, deviceauth.Requirement{Scope: "read"})
		person := id.Person
		if person.User != "alice" || person.Claims.String("email") != "alice@example.com" ||
			id.ClientID != "tv" || id.Scope != "openid read" {
			f.Errorf("got %+v of %+v", id, id.Person)
		}
		f.wantVerdict("insufficient_scope", token, deviceauth.Requirement{Scope: "write"})
		other := deviceauth.Requirement{Audience: []string{issuer + "/other"}}
		f.wantVerdict("invalid_token", token, other)
		f.wantVerdict("", f.connect(issuer+"/other").AccessToken.Reveal(), other)
	})
}

// A client that is no guard learns whether a token is active, but not who uses it.
//
// protocol 25
func TestOnlyGuardsLearnThePerson(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.Server = f.view(remote.Config{ClientID: "meter", ClientSecret: "meter"})
		id := f.wantVerdict("", token, deviceauth.Requirement{})
		if id.Person.User != "alice" || id.Person.Claims != nil {
			f.Errorf("a device's client learns %+v", id.Person)
		}
		f.Server = f.view(remote.Config{ClientID: "edge", ClientSecret: "wrong"})
		f.wantVerdict("fault", token, deviceauth.Requirement{})
	})
}

func TestGuardIsNoDevice(t *testing.T) {
	inBubble(t, func(f *testServer) {
		guard := deviceauth.Credentials{ClientID: "edge", Secret: "s3:cret&", Method: deviceauth.AuthBasic}
		_, err := f.engine.Authorize(f.Context(), deviceauth.AuthorizeRequest{Client: guard, From: deviceAddr})
		if got := verdict(err); got != "unauthorized_client" {
			f.Errorf("got %v", err)
		}
	})
}

// The guard itself finds what is wrong with a token. The server would accept any
// token here, so the refusal cannot come from it.
//
// protocol 30
func TestForeignTokensAreRefusedWithoutAsking(t *testing.T) {
	inBubble(t, func(f *testServer) {
		tokens, second := f.connect(), f.connect().AccessToken.Reveal()
		access := tokens.AccessToken.Reveal()
		f.wantVerdict("", access, deviceauth.Requirement{})
		f.wantVerdict("", second, deviceauth.Requirement{})
		f.respondWith(introspect, `{"active":true}`)
		f.wantRequests(introspect, 2)
		part := func(token string, i int) string { return strings.Split(token, ".")[i] }
		ours := func(change func(jwt.MapClaims)) string {
			return f.sign(f.keys, deviceauth.TypeAccess, f.claims(access, change))
		}
		past := time.Now().Add(-61 * time.Second).Unix()
		for name, token := range map[string]string{
			"nothing":               "x",
			"another's key":         f.sign(f.unpublishedKeys(), deviceauth.TypeAccess, f.claims(access, same)),
			"an ID token":           tokens.IDToken.Reveal(),
			"another type":          f.sign(f.keys, deviceauth.TypeID, f.claims(access, same)),
			"another issuer":        ours(func(c jwt.MapClaims) { c["iss"] = "https://evil.example" }),
			"no audience":           ours(func(c jwt.MapClaims) { delete(c, "aud") }),
			"no subject":            ours(func(c jwt.MapClaims) { delete(c, "sub") }),
			"no end":                ours(func(c jwt.MapClaims) { delete(c, "exp") }),
			"over":                  ours(func(c jwt.MapClaims) { c["exp"] = past }),
			"another's payload":     part(access, 0) + "." + part(second, 1) + "." + part(access, 2),
			"another's signature":   part(access, 0) + "." + part(access, 1) + "." + part(second, 2),
			"no signature":          part(access, 0) + "." + part(access, 1) + ".",
			"a grant that is no id": ours(func(c jwt.MapClaims) { c["sid"] = 7 }),
		} {
			f.Log(name)
			f.wantVerdict("invalid_token", token, deviceauth.Requirement{})
			f.wantRequests(introspect, 0)
		}
	})
}

func TestTokenOfAnUnknownGrantIsRefused(t *testing.T) {
	inBubble(t, func(f *testServer) {
		unknown := deviceauth.ID{1}.String()
		claims := f.claims(f.connect().AccessToken.Reveal(), func(c jwt.MapClaims) { c["sid"] = unknown })
		f.wantVerdict("invalid_token", f.sign(f.keys, deviceauth.TypeAccess, claims), deviceauth.Requirement{})
		f.wantRequests(introspect, 1)
	})
}

// protocol 24
func TestRevokedTokenIsRefusedWhenTheCacheExpires(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("", token, deviceauth.Requirement{})
		request := deviceauth.RevokeRequest{Client: deviceauth.Credentials{ClientID: "tv"}, Token: token}
		if err := f.engine.Revoke(f.Context(), request); err != nil {
			f.Fatal(err)
		}
		time.Sleep(cache - 1)
		f.wantVerdict("", token, deviceauth.Requirement{})
		time.Sleep(time.Nanosecond)
		f.wantVerdict("invalid_token", token, deviceauth.Requirement{})
	})
}

func TestConcurrentRequestsShareAnIntrospection(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.delay(introspect, 100*time.Millisecond)
		var all sync.WaitGroup
		for range 64 {
			all.Go(func() { f.wantVerdict("", token, deviceauth.Requirement{}) })
		}
		all.Wait()
		f.wantRequests(introspect, 1)
		f.wantRequests(jwks, 1)
		f.wantRequests(wellKnown, 1)
	})
}

// A request that was cancelled costs the server nothing, and gets no verdict
// that was never given.
func TestCancelledRequestsCostNothing(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect().AccessToken.Reveal()
		f.wantVerdict("", token, deviceauth.Requirement{})
		f.wantRequests(introspect, 1)
		time.Sleep(cache)
		gone, cancel := context.WithCancel(f.Context())
		cancel()
		for range 20 { // a select that may take either would ask before long
			if _, err := f.ValidateToken(gone, token, deviceauth.Requirement{}); !errors.Is(err, context.Canceled) {
				f.Errorf("got %v", err)
			}
		}
		f.wantRequests(introspect, 0)
		f.delay(introspect, 3*time.Second)
		go f.ValidateToken(f.Context(), token, deviceauth.Requirement{})
		synctest.Wait()
		f.wantDuration(time.Second, func() {
			hasty, cancel := context.WithTimeout(f.Context(), time.Second)
			defer cancel()
			_, err := f.ValidateToken(hasty, token, deviceauth.Requirement{})
			if !errors.Is(err, context.DeadlineExceeded) {
				f.Errorf("got %v", err)
			}
		})
		time.Sleep(2 * time.Second)
		synctest.Wait()
		f.wantRequests(introspect, 1)
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

// Of the requests that wait, all but the first share a response that was
// requested after they had arrived; none gets a response from before.
//
// protocol 24
func TestWithoutACacheEveryRequestAsks(t *testing.T) {
	inBubble(t, func(f *testServer) {
		f.Server = f.view(remote.Config{Cache: -1})
		token := f.connect().AccessToken.Reveal()
		for range 3 {
			f.wantVerdict("", token, deviceauth.Requirement{})
			f.wantRequests(introspect, 1)
		}
		f.delay(introspect, time.Second)
		f.wantDuration(2*time.Second, func() {
			var all sync.WaitGroup
			for range 64 {
				all.Go(func() { f.wantVerdict("", token, deviceauth.Requirement{}) })
			}
			all.Wait()
		})
		f.wantRequests(introspect, 2)
		f.restore()
		request := deviceauth.RevokeRequest{Client: deviceauth.Credentials{ClientID: "tv"}, Token: token}
		if err := f.engine.Revoke(f.Context(), request); err != nil {
			f.Fatal(err)
		}
		f.wantVerdict("invalid_token", token, deviceauth.Requirement{})
	})
}

func TestOperatorIsWarnedOnceOfTheDefaultAudience(t *testing.T) {
	inBubble(t, func(f *testServer) {
		token := f.connect(issuer + "/other").AccessToken.Reveal()
		var warned [][]string
		warn := func(has []string) { warned = append(warned, has) }
		f.Server = f.view(remote.Config{OtherAudience: warn})
		f.wantVerdict("invalid_token", f.forged(token), deviceauth.Requirement{})
		f.wantVerdict("", f.connect().AccessToken.Reveal(), deviceauth.Requirement{})
		f.wantVerdict("invalid_token", token, deviceauth.Requirement{Audience: []string{issuer}})
		f.Server = f.view(remote.Config{OtherAudience: warn, Audience: []string{issuer}})
		f.wantVerdict("invalid_token", token, deviceauth.Requirement{})
		if len(warned) != 0 {
			f.Errorf("was told %v of a token that is not the server's, or where the audience is chosen", warned)
		}
		f.Server = f.view(remote.Config{OtherAudience: warn})
		for range 3 {
			f.wantVerdict("invalid_token", token, deviceauth.Requirement{})
		}
		if len(warned) != 1 || !slices.Equal(warned[0], []string{issuer + "/other"}) {
			f.Errorf("was told %v", warned)
		}
	})
}
