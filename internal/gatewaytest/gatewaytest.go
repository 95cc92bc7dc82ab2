// Package gatewaytest provides a gateway without a network, with the people,
// devices and upstreams around it, for the tests of the gateway's packages.
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

// A Site is a handler and its environment, without a network. Its methods fail the
// test for which it was made. Requests go to the handler directly, one after the
// other or from several goroutines.
type Site struct {
	*testing.T
	*gateway.Handler
	Engine    *deviceauth.Engine
	Keys      *keyring.Keyring
	PollState *deviceauth.PollState
	Upstream  *Upstream
	From      netip.Addr // the client address of all requests
}

// New returns a gateway for three clients and an upstream; changes may change the
// engine's configuration. The clients are the public ones tv and cli, of which cli
// logs in by a browser, and the confidential one meter. The person is alice of the
// upstream work. Everything is in memory, so a test may run in a synctest bubble.
func New(t *testing.T, changes ...func(*deviceauth.Config)) *Site {
	t.Helper()
	// One store holds grants and documents, as in a gateway without Redis.
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
		// Only people in the group staff may approve.
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

// Reconfigure replaces the handler with one of another configuration. Engine and keys
// stay, as when Caddy reloads.
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

// Post sends a body unchanged; headers are pairs of name and value. Nothing is
// escaped or added, so that a test can send what no form would.
func (s *Site) Post(path, contentType, body string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return s.Do(r, headers...)
}

// Get sends a GET request; headers are pairs of name and value.
func (s *Site) Get(path string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	return s.Do(httptest.NewRequest("GET", path, nil), headers...)
}

// Do sends a request with further headers, as pairs of name and value. The client's
// address is Site.From, whatever the request has.
func (s *Site) Do(r *http.Request, headers ...string) *httptest.ResponseRecorder {
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// JSON decodes a JSON response. If it is no JSON object, JSON reports an error and
// returns an empty map.
func JSON(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Errorf("%d %q: %v", w.Code, w.Body, err)
	}
	return v
}

var description = regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`) // RFC 6749 §5.2

// Refused requires an OAuth error. It also requires what RFC 6749 §5.1 and §5.2
// demand of every error: no-store, and a description of printable ASCII.
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

// Post returns the request that a browser sends for a form, without cookies.
func Post(path string, values url.Values) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", Form)
	return r
}

// Poll polls the token endpoint as the client tv.
func (s *Site) Poll(deviceCode string) *httptest.ResponseRecorder {
	s.Helper()
	return s.Post("/oauth2/token", Form, url.Values{
		"client_id": {"tv"}, "device_code": {deviceCode},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	}.Encode())
}

// AccessToken goes through the whole login and returns an access token with the
// default scopes of tv.
func (s *Site) AccessToken() string {
	s.Helper()
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	return JSON(s.T, s.Poll(code))["access_token"].(string)
}

// BasicAuth returns the value of an Authorization header. It does not escape the two
// parts, as RFC 6749 §2.3.1 would require.
func BasicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// APIRequest returns a request to a guarded API. It keeps header names as they are
// written, without net/http's canonical form.
func APIRequest(headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "https://api.example.com/v2/things", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}
