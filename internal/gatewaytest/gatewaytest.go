// Package gatewaytest is a gateway without a network, with the people, devices and
// upstreams around it, for the tests of the packages that a gateway is made of.
package gatewaytest

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
)

// A Site is a handler with what surrounds it, without a network.
type Site struct {
	*testing.T
	*gateway.Handler
	Engine    *deviceauth.Engine
	Keys      *keyring.Keyring
	PollState *deviceauth.PollState
	Upstream  *Upstream
	From      netip.Addr // where requests come from
}

// An Upstream is one that believes everybody.
type Upstream struct {
	Person        *deviceauth.Person     // who signs in
	Begun         deviceauth.AuthRequest // the latest
	Down          bool
	Misconfigured bool

	Finished int   // how often Finish was called
	Refusal  error // of Finish
}

func (*Upstream) ID() string    { return "work" }
func (*Upstream) Label() string { return "Example <Work>" }
func (s *Upstream) Begin(_ context.Context, a deviceauth.AuthRequest) (string, error) {
	switch {
	case s.Down:
		return "", errors.New("connection refused")
	case s.Misconfigured:
		return "", fmt.Errorf("discovery: %w", &deviceauth.ConfigError{Reason: "it calls itself otherwise"})
	}
	s.Begun = a
	return "https://login.example.com/authorize?state=" + a.State, nil
}
func (s *Upstream) Finish(_ context.Context, _ deviceauth.AuthRequest, answer url.Values) (*deviceauth.Person, error) {
	if s.Finished++; s.Refusal != nil {
		return nil, s.Refusal
	}
	if answer.Get("error") != "" {
		return nil, deviceauth.NewError("sign_in_cancelled", "access_denied")
	}
	p := *s.Person
	if p.SignedIn = s.Begun.Began; s.Begun.FreshSignIn {
		p.Fresh = s.Begun.Code
	}
	return &p, nil
}
func (s *Upstream) Reachable(context.Context) error {
	if s.Down {
		return errors.New("connection refused")
	}
	return nil
}
func (s *Upstream) SignOut(_ context.Context, token string) (*deviceauth.SignOut, error) {
	switch token {
	case "fault":
		return nil, errors.New("connection refused")
	case "good":
		return &deviceauth.SignOut{Upstream: "work", Subject: "work|1", At: time.Now()}, nil
	}
	return nil, deviceauth.NewError("invalid_request", "not a logout token")
}

// New makes a gateway for two clients and an upstream, of which the engine's
// configuration may be changed.
func New(t *testing.T, changes ...func(*deviceauth.Config)) *Site {
	t.Helper()
	store := memstore.New()
	keys, err := keyring.Open(t.Context(), store, "")
	if err != nil {
		t.Fatal(err)
	}
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
				Redirects: []string{"http://127.0.0.1/callback", "https://app.example.com/cb?x=1", "com.example.app:/cb"},
			},
		},
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

// Post sends a body as it is, with headers as name, value, ….
func (s *Site) Post(path, contentType, body string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return s.Do(r, headers...)
}

func (s *Site) Get(path string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	return s.Do(httptest.NewRequest("GET", path, nil), headers...)
}

func (s *Site) Do(r *http.Request, headers ...string) *httptest.ResponseRecorder {
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// JSON decodes a JSON answer.
func JSON(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Errorf("%d %q: %v", w.Code, w.Body, err)
	}
	return v
}

var description = regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`) // RFC 6749 §5.2

// Refused wants an OAuth error.
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

// A Browser keeps cookies and reads pages.
type Browser struct {
	*Site
	Cookies map[string]string
	Status  int
	Page    string
	Header  http.Header
}

func (s *Site) Browser() *Browser { return &Browser{Site: s, Cookies: map[string]string{}} }

func (b *Browser) Request(r *http.Request) {
	b.Helper()
	for name, value := range b.Cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := b.Site.Do(r)
	for _, c := range w.Result().Cookies() {
		b.Cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.Cookies, c.Name)
		}
	}
	b.Status, b.Page, b.Header = w.Code, w.Body.String(), w.Header()
}

// Open follows redirects within the site, and stops at the upstream.
func (b *Browser) Open(path string) {
	b.Helper()
	for {
		path, _, _ = strings.Cut(path, "#") // a fragment stays in the browser
		b.Request(httptest.NewRequest("GET", path, nil))
		if path = b.Header.Get("Location"); b.Status != http.StatusSeeOther || !strings.HasPrefix(path, "/") {
			return
		}
	}
}

func (b *Browser) Submit(path string, values url.Values) {
	b.Helper()
	if path == "/device" && !values.Has("form") {
		values = maps.Clone(values)
		values.Set("form", b.CodeForm())
	}
	b.Request(Post(path, values))
	if b.Status == http.StatusSeeOther && strings.HasPrefix(b.Header.Get("Location"), "/") {
		b.Open(b.Header.Get("Location"))
	}
}

var codeFormField = regexp.MustCompile(`name="form" value="([^"]+)"`)

// CodeForm is what the form of the page for codes has in it.
func (b *Browser) CodeForm() string {
	b.Helper()
	if !codeFormField.MatchString(b.Page) {
		b.Open("/device")
	}
	field := codeFormField.FindStringSubmatch(b.Page)
	if field == nil {
		b.Fatalf("no form on the page:\n%s", b.Page)
	}
	return field[1]
}

func Post(path string, values url.Values) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", Form)
	return r
}

// TicketField finds the ticket of a page's form.
var TicketField = regexp.MustCompile(`name="ticket" value="([^"]+)"`)

func (b *Browser) Ticket() string {
	b.Helper()
	field := TicketField.FindStringSubmatch(b.Page)
	if field == nil {
		b.Fatalf("no ticket on the page:\n%s", b.Page)
	}
	return field[1]
}

// SignIn signs the browser in.
func (b *Browser) SignIn() {
	b.Helper()
	b.Open("/device/sign-in?with=work")
	begun := b.Upstream.Begun
	b.Open(strings.TrimPrefix(begun.RedirectURI, "https://api.example.com") + "?code=c&state=" + begun.State)
}

// Ask brings the browser to the question about a new grant.
func (b *Browser) Ask() (userCode, deviceCode string) {
	b.Helper()
	v := JSON(b.T, b.Post("/oauth2/device_authorization", Form, "client_id=tv"))
	userCode, deviceCode = v["user_code"].(string), v["device_code"].(string)
	b.Submit("/device", url.Values{"user_code": {userCode}})
	return userCode, deviceCode
}

func (b *Browser) Sees(status int, text string) {
	b.Helper()
	if b.Status != status || !strings.Contains(b.Page, text) {
		b.Errorf("got %d, want %d and %q in:\n%s", b.Status, status, text, b.Page)
	}
}

func (s *Site) Poll(deviceCode string) *httptest.ResponseRecorder {
	s.Helper()
	return s.Post("/oauth2/token", Form, url.Values{
		"client_id": {"tv"}, "device_code": {deviceCode},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	}.Encode())
}

// AccessToken goes all the way through the pages.
func (s *Site) AccessToken() string {
	s.Helper()
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	return JSON(s.T, s.Poll(code))["access_token"].(string)
}

// Home is a second upstream beside the first.
type Home struct{ *Upstream }

func (Home) ID() string    { return "home" }
func (Home) Label() string { return "Home" }

func BasicAuth(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// APIRequest is one that an API is asked.
func APIRequest(headers ...string) *http.Request {
	r := httptest.NewRequest("GET", "https://api.example.com/v2/things", nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header[headers[i]] = append(r.Header[headers[i]], headers[i+1])
	}
	return r
}
