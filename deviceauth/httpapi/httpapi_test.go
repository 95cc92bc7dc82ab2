package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// A site is a handler with what surrounds it, without a network.
type site struct {
	*testing.T
	*httpapi.Handler
	engine *deviceauth.Engine
	keys   *keyring.Keyring
	live   *deviceauth.PollState
	signIn *signIn
	from   netip.Addr // where requests come from
}

// signIn is an upstream that believes everybody.
type signIn struct {
	person *deviceauth.Person
	begun  deviceauth.AuthRequest
	down   bool
	wrong  bool // it is, in the configuration

	finished int
	refusal  error // of Finish
}

func (*signIn) ID() string    { return "work" }
func (*signIn) Label() string { return "Example <Work>" }
func (s *signIn) Begin(_ context.Context, a deviceauth.AuthRequest) (string, error) {
	switch {
	case s.down:
		return "", errors.New("connection refused")
	case s.wrong:
		return "", fmt.Errorf("discovery: %w", &deviceauth.ConfigError{Reason: "it calls itself otherwise"})
	}
	s.begun = a
	return "https://login.example.com/authorize?state=" + a.State, nil
}
func (s *signIn) Finish(_ context.Context, _ deviceauth.AuthRequest, answer url.Values) (*deviceauth.Person, error) {
	if s.finished++; s.refusal != nil {
		return nil, s.refusal
	}
	if answer.Get("error") != "" {
		return nil, deviceauth.NewError("sign_in_cancelled", "access_denied")
	}
	p := *s.person
	if p.SignedIn = s.begun.Began; s.begun.FreshSignIn {
		p.Fresh = s.begun.Code
	}
	return &p, nil
}
func (s *signIn) Reachable(context.Context) error {
	if s.down {
		return errors.New("connection refused")
	}
	return nil
}
func (s *signIn) SignOut(_ context.Context, token string) (*deviceauth.SignOut, error) {
	switch token {
	case "fault":
		return nil, errors.New("connection refused")
	case "good":
		return &deviceauth.SignOut{Upstream: "work", Subject: "work|1", At: time.Now()}, nil
	}
	return nil, deviceauth.NewError("invalid_request", "not a logout token")
}

func newSite(t *testing.T, changes ...func(*deviceauth.Config)) *site {
	t.Helper()
	store := memstore.New()
	keys, err := keyring.Open(t.Context(), store, "")
	if err != nil {
		t.Fatal(err)
	}
	c := deviceauth.Config{
		Issuer: "https://api.example.com", Wait: -1, Store: store, Documents: store, Signer: keys, RefreshKey: keys.Source(keyring.PurposeRefresh),
		Clients: []deviceauth.Client{
			{ID: "tv", Name: "TV <b>", Vendor: "Mak\u202eer", Public: true, Scope: "openid offline_access read", Origins: []string{"https://tv.example"}},
			{ID: "meter", Secret: "s3:cret&", Scope: "read", From: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}},
		},
		Allow:  map[string][]deviceauth.Allow{"work": {{Claim: "groups", Patterns: []string{"staff"}}}},
		Scopes: []deviceauth.ScopeText{{Scope: "read", Text: "Read <everything>"}},
	}
	c.PollState = deviceauth.NewPollState()
	for _, change := range changes {
		change(&c)
	}
	s := &site{T: t, keys: keys, live: c.PollState, from: netip.MustParseAddr("192.0.2.7"), signIn: &signIn{person: &deviceauth.Person{
		Subject: "work|1", Upstream: "work", User: "alice", Claims: deviceauth.Claims{"name": "Alice <i>", "groups": []any{"staff"}},
	}}}
	if s.engine, err = deviceauth.New(c); err != nil {
		t.Fatal(err)
	}
	s.again(func(*httpapi.Config) {})
	return s
}

// again makes the handler anew, with another configuration.
func (s *site) again(change func(*httpapi.Config)) {
	s.Helper()
	c := httpapi.Config{
		Engine: s.engine, Keys: s.keys, Upstreams: []deviceauth.Upstream{s.signIn}, CookieKey: s.keys.Source(keyring.PurposeCookie),
		ClientIP: func(*http.Request) netip.Addr { return s.from }, Dialects: httpapi.Dialects(),
	}
	change(&c)
	var err error
	if s.Handler, err = httpapi.New(c); err != nil {
		s.Fatal(err)
	}
}

func TestHandlerNeedsACookieKey(t *testing.T) {
	s := newSite(t)
	h, err := httpapi.New(httpapi.Config{Engine: s.engine, Keys: s.keys})
	if h != nil || err == nil || !strings.Contains(err.Error(), "CookieKey: the key is missing") {
		t.Errorf("got %v, %v", h, err)
	}
}

const form = "application/x-www-form-urlencoded"

// post sends a body as it is, with headers as name, value, ….
func (s *site) post(path, contentType, body string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return s.do(r, headers...)
}

func (s *site) get(path string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	return s.do(httptest.NewRequest("GET", path, nil), headers...)
}

func (s *site) do(r *http.Request, headers ...string) *httptest.ResponseRecorder {
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// says decodes a JSON answer.
func says(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	v := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
		t.Errorf("%d %q: %v", w.Code, w.Body, err)
	}
	return v
}

var description = regexp.MustCompile(`^[\x20\x21\x23-\x5B\x5D-\x7E]+$`) // RFC 6749 §5.2

// refuses wants an OAuth error.
func refuses(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	v := says(t, w)
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

// A browser keeps cookies and reads pages.
type browser struct {
	*site
	cookies map[string]string
	status  int
	page    string
	header  http.Header
}

func (s *site) browser() *browser { return &browser{site: s, cookies: map[string]string{}} }

func (b *browser) request(r *http.Request) {
	b.Helper()
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := b.site.do(r)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	b.status, b.page, b.header = w.Code, w.Body.String(), w.Header()
}

// open follows redirects within the site, and stops at the upstream.
func (b *browser) open(path string) {
	b.Helper()
	for {
		path, _, _ = strings.Cut(path, "#") // a fragment stays in the browser
		b.request(httptest.NewRequest("GET", path, nil))
		if path = b.header.Get("Location"); b.status != http.StatusSeeOther || !strings.HasPrefix(path, "/") {
			return
		}
	}
}

func (b *browser) submit(path string, values url.Values) {
	b.Helper()
	if path == "/device" && !values.Has("form") {
		values = maps.Clone(values)
		values.Set("form", b.codeForm())
	}
	b.request(post(path, values))
	if b.status == http.StatusSeeOther && strings.HasPrefix(b.header.Get("Location"), "/") {
		b.open(b.header.Get("Location"))
	}
}

var codeFormField = regexp.MustCompile(`name="form" value="([^"]+)"`)

// codeForm is what the form of the page for codes has in it.
func (b *browser) codeForm() string {
	b.Helper()
	if !codeFormField.MatchString(b.page) {
		b.open("/device")
	}
	field := codeFormField.FindStringSubmatch(b.page)
	if field == nil {
		b.Fatalf("no form on the page:\n%s", b.page)
	}
	return field[1]
}

func post(path string, values url.Values) *http.Request {
	r := httptest.NewRequest("POST", path, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", form)
	return r
}

var ticketField = regexp.MustCompile(`name="ticket" value="([^"]+)"`)

func (b *browser) ticket() string {
	b.Helper()
	field := ticketField.FindStringSubmatch(b.page)
	if field == nil {
		b.Fatalf("no ticket on the page:\n%s", b.page)
	}
	return field[1]
}

// in signs the browser in.
func (b *browser) in() {
	b.Helper()
	b.open("/device/sign-in?with=work")
	b.open(strings.TrimPrefix(b.signIn.begun.RedirectURI, "https://api.example.com") + "?code=c&state=" + b.signIn.begun.State)
}

// ask brings the browser to the question about a new grant.
func (b *browser) ask() (userCode, deviceCode string) {
	b.Helper()
	v := says(b.T, b.post("/oauth2/device_authorization", form, "client_id=tv"))
	userCode, deviceCode = v["user_code"].(string), v["device_code"].(string)
	b.submit("/device", url.Values{"user_code": {userCode}})
	return userCode, deviceCode
}

func (b *browser) sees(status int, text string) {
	b.Helper()
	if b.status != status || !strings.Contains(b.page, text) {
		b.Errorf("got %d, want %d and %q in:\n%s", b.status, status, text, b.page)
	}
}

func (s *site) poll(deviceCode string) *httptest.ResponseRecorder {
	s.Helper()
	return s.post("/oauth2/token", form, url.Values{"client_id": {"tv"}, "device_code": {deviceCode}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}}.Encode())
}

func body(w *httptest.ResponseRecorder) string {
	text, _ := io.ReadAll(w.Body)
	return string(text)
}
