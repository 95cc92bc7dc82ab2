package edge_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/edge"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// A far is an authorization server, reached over HTTP, and a guard's view of it.
type far struct {
	*testing.T
	*edge.Server
	engine   *deviceauth.Engine
	keys     *keyring.Keyring
	issuer   string
	down     atomic.Bool
	mu       sync.Mutex
	requests map[string]int
}

const cache = 50 * time.Millisecond

func newFar(t *testing.T) *far {
	t.Helper()
	f := &far{T: t, requests: map[string]int{}}
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests[r.URL.Path]++
		f.mu.Unlock()
		if f.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.issuer = server.URL
	store := memstore.New()
	keys, err := keyring.Open(t.Context(), store, "")
	if err != nil {
		t.Fatal(err)
	}
	f.keys = keys
	f.engine, err = deviceauth.New(deviceauth.Config{
		Issuer: f.issuer, Store: store, Signer: keys, RefreshKey: keys.Secret(keyring.PurposeRefresh), Allow: map[string][]deviceauth.Allow{"work": nil},
		Audience: []string{f.issuer, f.issuer + "/other"},
		Clients: []deviceauth.Client{
			{ID: "tv", Public: true, Scope: "openid read write"},
			{ID: "edge", Secret: "s3:cret&", Guard: true},
			{ID: "meter", Secret: "meter", Scope: "read"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if handler, err = httpapi.New(httpapi.Config{Engine: f.engine, Keys: keys, CookieKey: keys.Secret(keyring.PurposeCookie)}); err != nil {
		t.Fatal(err)
	}
	f.Server = f.view("edge", "s3:cret&")
	return f
}

func (f *far) view(client string, secret deviceauth.Secret) *edge.Server {
	f.Helper()
	s, err := edge.New(edge.Config{Issuer: f.issuer, ClientID: client, ClientSecret: secret, Cache: cache})
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

func (f *far) asked(path string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.requests[path]
}

// admits wants an answer: "" for a yes, else a refusal's code, or "fault".
func (f *far) admits(want, token string, need deviceauth.Requirement) *deviceauth.Identity {
	f.Helper()
	id, err := f.Admit(f.Context(), token, need)
	got := ""
	if refusal := deviceauth.Refused(err); refusal != nil {
		got = refusal.Code
	} else if err != nil {
		got = "fault"
	}
	if got != want {
		f.Errorf("got %q (%v), want %q", got, err, want)
	}
	return id
}

// protocol 25, 29, 32
func TestGuardFarAwayKnowsWhoAsks(t *testing.T) {
	f := newFar(t)
	token := f.connect().AccessToken.Reveal()
	id := f.admits("", token, deviceauth.Requirement{Scope: "read"})
	if id.Person.User != "alice" || id.Person.Claims.String("email") != "alice@example.com" || id.ClientID != "tv" || id.Scope != "openid read" {
		t.Errorf("got %+v of %+v", id, id.Person)
	}
	f.admits("insufficient_scope", token, deviceauth.Requirement{Scope: "write"})
	f.admits("invalid_token", token, deviceauth.Requirement{Audience: []string{f.issuer + "/other"}})
	f.admits("", f.connect(f.issuer+"/other").AccessToken.Reveal(), deviceauth.Requirement{Audience: []string{f.issuer + "/other"}})
}

// A client that is no guard learns whether a token lives, and not who uses it.
//
// protocol 25
func TestOnlyGuardsLearnWhoStandsBehindAToken(t *testing.T) {
	f := newFar(t)
	token := f.connect().AccessToken.Reveal()
	f.Server = f.view("meter", "meter")
	if id := f.admits("", token, deviceauth.Requirement{}); id.Person.User != "alice" || id.Person.Claims != nil {
		t.Errorf("a device's client learns %+v", id.Person)
	}
	f.Server = f.view("edge", "wrong")
	f.admits("fault", token, deviceauth.Requirement{})
}

func TestGuardIsNoDevice(t *testing.T) {
	f := newFar(t)
	_, err := f.engine.Authorize(t.Context(), deviceauth.AuthorizeRequest{Client: deviceauth.Credentials{ClientID: "edge", Secret: "s3:cret&", Method: deviceauth.AuthBasic}, From: here})
	if refusal := deviceauth.Refused(err); refusal == nil || refusal.Code != "unauthorized_client" {
		t.Errorf("got %v", err)
	}
}

// protocol 30
func TestTokensThatAreNotTheServersAreRefused(t *testing.T) {
	f := newFar(t)
	tokens := f.connect()
	access := tokens.AccessToken.Reveal()
	f.admits("", access, deviceauth.Requirement{})
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(access, claims); err != nil {
		t.Fatal(err)
	}
	other, err := keyring.Open(t.Context(), memstore.New(), "")
	if err != nil {
		t.Fatal(err)
	}
	signed := func(k *keyring.Keyring, typ string, change func(jwt.MapClaims)) string {
		changed := jwt.MapClaims{}
		for name, value := range claims {
			changed[name] = value
		}
		change(changed)
		text, err := k.Sign(typ, changed)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	same := func(jwt.MapClaims) {}
	head, rest, _ := strings.Cut(access, ".")
	for name, token := range map[string]string{
		"nothing":               "x",
		"another's key":         signed(other, deviceauth.TypeAccess, same),
		"an ID token":           tokens.IDToken.Reveal(),
		"another type":          signed(f.keys, deviceauth.TypeID, same),
		"another issuer":        signed(f.keys, deviceauth.TypeAccess, func(c jwt.MapClaims) { c["iss"] = "https://evil.example" }),
		"no audience":           signed(f.keys, deviceauth.TypeAccess, func(c jwt.MapClaims) { delete(c, "aud") }),
		"no subject":            signed(f.keys, deviceauth.TypeAccess, func(c jwt.MapClaims) { delete(c, "sub") }),
		"no end":                signed(f.keys, deviceauth.TypeAccess, func(c jwt.MapClaims) { delete(c, "exp") }),
		"over":                  signed(f.keys, deviceauth.TypeAccess, func(c jwt.MapClaims) { c["exp"] = time.Now().Add(-61 * time.Second).Unix() }),
		"another's payload":     head + "." + strings.Replace(rest, rest[:4], "eyJh", 1) + "x",
		"of a grant not there":  signed(f.keys, deviceauth.TypeAccess, func(c jwt.MapClaims) { c["sid"] = deviceauth.ID{1}.String() }),
		"a grant that is no id": signed(f.keys, deviceauth.TypeAccess, func(c jwt.MapClaims) { c["sid"] = 7 }),
	} {
		t.Log(name)
		f.admits("invalid_token", token, deviceauth.Requirement{})
	}
}

// protocol 24
func TestRevokedDeviceIsOutWhenTheMemoryEnds(t *testing.T) {
	f := newFar(t)
	token := f.connect().AccessToken.Reveal()
	f.admits("", token, deviceauth.Requirement{})
	revoked := time.Now()
	if err := f.engine.Revoke(t.Context(), deviceauth.RevokeRequest{Client: deviceauth.Credentials{ClientID: "tv"}, Token: token}); err != nil {
		t.Fatal(err)
	}
	for {
		asked := time.Now()
		if _, err := f.Admit(t.Context(), token, deviceauth.Requirement{}); deviceauth.Refused(err) != nil {
			break
		}
		if asked.Sub(revoked) > cache {
			t.Fatalf("still admitted %v after the revocation, with a memory of %v", asked.Sub(revoked), cache)
		}
	}
}

func TestOfManyRequestsOneAsks(t *testing.T) {
	f := newFar(t)
	token := f.connect().AccessToken.Reveal()
	long, err := edge.New(edge.Config{Issuer: f.issuer, ClientID: "edge", ClientSecret: "s3:cret&", Cache: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	f.Server = long
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() { f.admits("", token, deviceauth.Requirement{}) })
	}
	all.Wait()
	if n := f.asked("/oauth2/introspect"); n != 1 {
		t.Errorf("the server was asked %d times", n)
	}
	for range 50 {
		forged, err := keyring.Open(t.Context(), memstore.New(), "")
		if err != nil {
			t.Fatal(err)
		}
		text, err := forged.Sign(deviceauth.TypeAccess, jwt.MapClaims{"iss": f.issuer})
		if err != nil {
			t.Fatal(err)
		}
		f.admits("invalid_token", text, deviceauth.Requirement{})
	}
	if n := f.asked("/oauth2/jwks"); n > 2 {
		t.Errorf("forged tokens made us fetch the keys %d times", n)
	}
}

func TestServerThatIsDownIsAFaultAndHeals(t *testing.T) {
	f := newFar(t)
	f.down.Store(true)
	token := f.connect().AccessToken.Reveal()
	for range 20 {
		f.admits("fault", token, deviceauth.Requirement{})
	}
	if n := f.asked("/.well-known/oauth-authorization-server"); n > 2 {
		t.Errorf("a server that is down is asked %d times at once", n)
	}
	f.down.Store(false)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := f.Admit(t.Context(), token, deviceauth.Requirement{}); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("it does not heal")
		}
	}
	f.down.Store(true)
	time.Sleep(cache)
	f.admits("fault", token, deviceauth.Requirement{}) // and not "invalid": the device keeps its token
}

func TestWhoGivesUpIsNotAsked(t *testing.T) {
	f := newFar(t)
	token := f.connect().AccessToken.Reveal()
	f.admits("", token, deviceauth.Requirement{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Admit(ctx, token, deviceauth.Requirement{}); err != nil && deviceauth.Refused(err) != nil {
		t.Errorf("got %v", err)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	good := edge.Config{Issuer: "https://api.example.com", ClientID: "edge", ClientSecret: "x"}
	if _, err := edge.New(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*edge.Config){
		"http":      func(c *edge.Config) { c.Issuer = "http://api.example.com" },
		"no client": func(c *edge.Config) { c.ClientID = "" },
		"no secret": func(c *edge.Config) { c.ClientSecret = "" },
		"for ever":  func(c *edge.Config) { c.Cache = time.Hour },
	} {
		c := good
		change(&c)
		if _, err := edge.New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
