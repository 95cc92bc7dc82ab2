package devicecheck

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

func TestMain(m *testing.M) { os.Exit(needs.RunWaiting(m)) }

// A stand is the real server with a guarded API, behind a proxy that can break one
// thing.
type stand struct {
	*testing.T
	*httptest.Server
	engine   *deviceauth.Engine
	pages    *gateway.Handler
	keys     *keyring.Keyring
	guard    *guard.Guard
	provider *httptest.Server // where people sign in
	refuses  func(http.ResponseWriter, *http.Request) bool
	down     bool // the provider, as the gateway sees it
	before   func(*http.Request)
	tamper   func(*http.Request, *httptest.ResponseRecorder)
}

const page = "https://tv.example"

func newStand(t *testing.T, changes ...func(*deviceauth.Config)) *stand {
	t.Helper()
	s := &stand{T: t, tamper: func(*http.Request, *httptest.ResponseRecorder) {}, before: func(*http.Request) {}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(s.serve))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // reach.connection speaks no TLS
	s.StartTLS()
	t.Cleanup(s.Close)
	s.provider = httptest.NewServer(http.HandlerFunc(s.signIn))
	t.Cleanup(s.provider.Close)
	store := memstore.New()
	keys, err := keyring.Open(t.Context(), store, "")
	if err != nil {
		t.Fatal(err)
	}
	c := deviceauth.Config{
		Issuer: s.URL, Wait: -1, Interval: time.Second, Store: store, Signer: keys,
		RefreshKey: keys.Source(keyring.PurposeRefresh),
		Allow:      map[string][]deviceauth.Allow{"work": nil, "home": nil},
		Clients: []deviceauth.Client{
			{ID: "tv", Name: "TV", Public: true, Scope: "openid offline_access read", Origins: []string{page}},
			{ID: "meter", Secret: "s3:cret&", Scope: "openid offline_access read"},
		},
	}
	for _, change := range changes {
		change(&c)
	}
	s.keys = keys
	if s.engine, err = deviceauth.New(c); err != nil {
		t.Fatal(err)
	}
	s.pages, err = gateway.NewHandler(gateway.HandlerConfig{Engine: s.engine, Keys: keys,
		CookieKey: keys.Source(keyring.PurposeCookie),
		Upstreams: []deviceauth.Upstream{upstream{stand: s, id: "work"}, upstream{stand: s, id: "home"}}})
	if err != nil {
		t.Fatal(err)
	}
	s.guard = guard.New(guard.Options{Need: deviceauth.Requirement{Scope: "read"}}, s.engine)
	return s
}

// serve is the proxy.
func (s *stand) serve(w http.ResponseWriter, q *http.Request) {
	s.before(q)
	answer := httptest.NewRecorder()
	switch path := q.URL.Path; {
	case s.pages.Serves(path):
		s.pages.ServeHTTP(answer, q)
	case strings.HasPrefix(path, guard.ResourceMetadataPath):
		guard.Resource{Servers: []string{s.engine.Issuer()}, Scope: "read",
			Audience: s.engine.Audience()}.ServeHTTP(answer, q)
	case strings.HasPrefix(path, "/api"):
		s.api(answer, q)
	default:
		http.NotFound(answer, q)
	}
	s.tamper(q, answer)
	maps.Copy(w.Header(), answer.Header())
	w.Header().Del("Content-Length")
	w.WriteHeader(answer.Code)
	w.Write(answer.Body.Bytes())
}

// api is guarded as package caddymodule guards.
func (s *stand) api(w http.ResponseWriter, q *http.Request) {
	if s.guard.Preflight(w.Header(), q) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	_, _, err := s.guard.Authenticate(q, "")
	var challenge *guard.Challenge
	if errors.As(err, &challenge) {
		w.Header().Set("WWW-Authenticate", challenge.Headers[0])
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(challenge.Status)
		return
	}
	io.WriteString(w, "things")
}

// signIn is the provider's authorization endpoint.
func (s *stand) signIn(w http.ResponseWriter, q *http.Request) {
	if s.refuses == nil || !s.refuses(w, q) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<h1>Who are you?</h1>")
	}
}

type upstream struct {
	*stand
	id string
}

func (u upstream) ID() string    { return u.id }
func (u upstream) Label() string { return u.id }
func (u upstream) Begin(_ context.Context, a deviceauth.AuthRequest) (string, error) {
	if u.down {
		return "", errors.New("connection refused")
	}
	return u.provider.URL + "/" + u.id + "?" +
		url.Values{"client_id": {"gateway"}, "redirect_uri": {a.RedirectURI}, "state": {a.State}}.Encode(), nil
}
func (upstream) Finish(context.Context, deviceauth.AuthRequest, url.Values) (*deviceauth.Person, error) {
	return nil, errors.New("nobody signs in here")
}
func (upstream) Reachable(context.Context) error { return nil }
func (upstream) SignOut(context.Context, string) (*deviceauth.SignOut, error) {
	return nil, errors.New("nobody signs out here")
}

var here = netip.MustParseAddr("127.0.0.1")

// answers returns a user who enters the code and decides.
func (s *stand) answers(allow bool) func(deviceclient.Prompt) {
	person := &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice", SignedIn: time.Now()}
	return func(p deviceclient.Prompt) {
		g, err := s.engine.Inspect(s.Context(), deviceauth.InspectRequest{Person: person, From: here, Code: p.Code})
		if err == nil {
			_, err = s.engine.Answer(s.Context(),
				deviceauth.AnswerRequest{Grant: g.ID, Allow: allow, Person: person, From: here})
		}
		if err != nil {
			s.Error(err)
		}
	}
}

func (s *stand) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func (s *stand) config() Config {
	return Config{URL: s.URL + "/api/things", ClientID: "tv", Origin: page, Roots: s.roots()}
}

// members changes the JSON of an answer.
func members(w *httptest.ResponseRecorder, change func(map[string]any)) {
	v := map[string]any{}
	if json.Unmarshal(w.Body.Bytes(), &v) != nil {
		return
	}
	change(v)
	text, _ := json.Marshal(v)
	w.Body.Reset()
	w.Body.Write(text)
}

// copyForm reads a request's form, and leaves it to be read again.
func copyForm(q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	q.PostForm, _ = url.ParseQuery(string(body))
	q.Form = q.PostForm
	q.Body = io.NopCloser(strings.NewReader(string(body)))
}
