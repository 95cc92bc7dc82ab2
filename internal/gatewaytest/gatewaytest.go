// Package gatewaytest is a gateway without a network, with the people, devices and
// upstreams around it, for the tests of the packages that a gateway is made of.
package gatewaytest

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
)

// A Site is a handler with what surrounds it, without a network. Its methods
// fail the test that it was made for. Requests go to the handler directly, one
// after the other or from several goroutines.
type Site struct {
	*testing.T
	*gateway.Handler
	Engine    *deviceauth.Engine
	Keys      *keyring.Keyring
	PollState *deviceauth.PollState
	Upstream  *Upstream
	From      netip.Addr // where requests come from
}

// New makes a gateway for two clients and an upstream, of which the engine's
// configuration may be changed. The clients are the public clients tv and cli,
// of which cli logs in by a browser, and the confidential client meter, the
// person is alice of the upstream work. Everything is in memory, so a test may
// run in a bubble of synctest.
func New(t *testing.T, changes ...func(*deviceauth.Config)) *Site {
	t.Helper()
	// One store has grants and documents, as in a gateway without Redis.
	store := memstore.New()
	keys, err := keyring.Open(t.Context(), store, "")
	if err != nil {
		t.Fatal(err)
	}
	// Wait is negative, so no poll is held and no test waits for one.
	c := deviceauth.Config{
		Issuer: "https://api.example.com", Wait: -1, Store: store, Documents: store, Signer: keys,
		RefreshKey: keys.Source(keyring.PurposeRefresh),
		Clients: []deviceauth.Client{
			{
				ID: "tv", Name: "TV <b>", Vendor: "Mak\u202eer", Public: true, Scope: "openid offline_access read",
				Origins: []string{"https://tv.example"},
			},
			{
				ID: "meter", Secret: "s3:cret&", Scope: "read",
				From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
			},
			{
				ID: "cli", Name: "Store CLI", Public: true, Scope: "openid offline_access read",
				Redirects: []string{"http://127.0.0.1/callback", "https://app.example.com/cb?x=1",
					"com.example.app:/cb"},
			},
		},
		// People of the group staff may approve, and no others.
		Allow:  map[string][]deviceauth.Allow{"work": {{Claim: "groups", Patterns: []string{"staff"}}}},
		Scopes: []deviceauth.ScopeText{{Scope: "read", Text: "Read <everything>"}},
	}
	c.PollState = deviceauth.NewPollState()
	for _, change := range changes {
		change(&c)
	}
	s := &Site{T: t, Keys: keys, PollState: c.PollState, From: netip.MustParseAddr("192.0.2.7")}
	s.Upstream = &Upstream{Person: &deviceauth.Person{
		Subject: "work|1", Upstream: "work", User: "alice",
		Claims: deviceauth.Claims{"name": "Alice <i>", "groups": []any{"staff"}},
	}}
	if s.Engine, err = deviceauth.New(c); err != nil {
		t.Fatal(err)
	}
	s.Reconfigure(func(*gateway.HandlerConfig) {})
	return s
}

// Reconfigure makes the handler anew, with another configuration.
// Engine and keys stay, as across a reload of Caddy.
func (s *Site) Reconfigure(change func(*gateway.HandlerConfig)) {
	s.Helper()
	c := gateway.HandlerConfig{
		Engine: s.Engine, Keys: s.Keys, Upstreams: []deviceauth.Upstream{s.Upstream},
		CookieKey: s.Keys.Source(keyring.PurposeCookie),
		ClientIP:  func(*http.Request) netip.Addr { return s.From }, Dialects: oauthapi.Dialects(),
	}
	change(&c)
	var err error
	if s.Handler, err = gateway.NewHandler(c); err != nil {
		s.Fatal(err)
	}
}

// Form is the media type of forms.
const Form = "application/x-www-form-urlencoded"

// Post sends a body as it is, with headers as name, value, …. Nothing is
// escaped or added, so that a test can send what no form would.
func (s *Site) Post(path, contentType, body string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return s.Do(r, headers...)
}

// Get sends a GET request. Headers are name, value, ….
func (s *Site) Get(path string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	return s.Do(httptest.NewRequest("GET", path, nil), headers...)
}

// Do sends a request, with further headers as name, value, …. The client's
// address is Site.From, whatever the request says.
func (s *Site) Do(r *http.Request, headers ...string) *httptest.ResponseRecorder {
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// JSON decodes a JSON answer. A response that is no JSON object is an error of
// the test, and an empty map.
func JSON(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Errorf("%d %q: %v", w.Code, w.Body, err)
	}
	return v
}

var description = regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`) // RFC 6749 §5.2

// Refused wants an OAuth error. It also wants what RFC 6749 §5.1 and §5.2 say
// of every error: no-store, and a description of printable ASCII.
func Refused(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	v := JSON(t, w)
	if w.Code != status || v["error"] != code {
		t.Errorf("got %d %v, want %d %s", w.Code, v, status, code)
	}
	if text, _ := v["error_description"].(string); !description.MatchString(text) {
		t.Errorf("error_description %q is not printable ASCII", text)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: %q", w.Header().Get("Cache-Control"))
	}
}

// Post is the request that a browser makes of a form, without cookies.
func Post(path string, values url.Values) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", Form)
	return r
}

// Poll asks as the client tv.
func (s *Site) Poll(deviceCode string) *httptest.ResponseRecorder {
	s.Helper()
	return s.Post("/oauth2/token", Form, url.Values{
		"client_id": {"tv"}, "device_code": {deviceCode},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	}.Encode())
}

// AccessToken goes all the way through the pages. The token has the scopes
// that tv has by default.
func (s *Site) AccessToken() string {
	s.Helper()
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	return JSON(s.T, s.Poll(code))["access_token"].(string)
}

// BasicAuth does not escape the halves; RFC 6749 §2.3.1 would.
func BasicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// APIRequest is one that an API is asked. Names are taken as they are written,
// without the canonical form of net/http.
func APIRequest(headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "https://api.example.com/v2/things", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}
