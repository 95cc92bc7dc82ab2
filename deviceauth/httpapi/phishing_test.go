package httpapi_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// lured is a person who types the code of a device that asked from elsewhere.
func (s *site) lured() (b *browser, deviceCode string) {
	s.Helper()
	b = s.browser()
	v := says(s.T, s.post("/oauth2/device_authorization", form, "client_id=tv"))
	s.from = netip.MustParseAddr("198.51.100.9")
	b.in()
	b.submit("/device", url.Values{"user_code": {v["user_code"].(string)}})
	return b, v["device_code"].(string)
}

func (b *browser) answers(fields ...string) {
	b.Helper()
	values := url.Values{"ticket": {b.ticket()}}
	for i := 0; i < len(fields); i += 2 {
		values.Set(fields[i], fields[i+1])
	}
	b.submit("/device/confirm", values)
}

// protocol 38
func TestAnotherNetworkIsASecondQuestion(t *testing.T) {
	s := newSite(t)
	b, code := s.lured()
	for _, want := range []string{"another network", "192.0.2.7", "198.51.100.9"} {
		b.sees(200, want)
	}
	b.answers("answer", "allow")
	b.sees(200, "Who started this?")
	b.answers("answer", "allow", "checked", "yes")
	b.sees(400, "Choose one of the two answers")
	b.answers("answer", "allow", "checked", "yes", "started", "somebody")
	b.sees(400, "Choose one of the two answers")
	refuses(t, s.poll(code), 400, "authorization_pending")
	b.answers("answer", "allow", "checked", "yes", "started", "me")
	b.sees(200, "is connected")
}

func TestWhoWasSentTheCodeSaysSo(t *testing.T) {
	s := newSite(t)
	b, code := s.lured()
	b.answers("answer", "allow")
	b.answers("answer", "allow", "checked", "yes", "started", "other")
	b.sees(200, "never enter a code that somebody sends you")
	if strings.Contains(b.page, "Whom to tell") {
		t.Error("nobody is to be told, and the page says whom")
	}
	refuses(t, s.poll(code), 400, "access_denied")
}

// protocol 38
func TestRequiredNetworkOffersNoYes(t *testing.T) {
	s := newSite(t, func(c *deviceauth.Config) { c.Network = deviceauth.NetworkRequire })
	b, code := s.lured()
	b.sees(200, "only from its own network")
	if strings.Contains(b.page, `value="allow"`) {
		t.Error("the page offers to allow it")
	}
	ticket := b.ticket()
	for _, more := range []url.Values{{}, {"started": {"me"}}, {"started": {"me"}, "checked": {"yes"}}} {
		more.Set("ticket", ticket)
		more.Set("answer", "allow")
		b.submit("/device/confirm", more)
		b.sees(403, "another network")
	}
	refuses(t, s.poll(code), 400, "authorization_pending")
}

// protocol 35: nobody but the person's own browser, which goes there, gets a page.
func TestPagesAnswerNavigationsAlone(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	b.ask()
	ticket := b.ticket()
	for _, headers := range []map[string]string{
		{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"},
		{"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
		{"Sec-Fetch-Dest": "image"}, {"Service-Worker": "script", "Sec-Fetch-Dest": "serviceworker"},
		{"Service-Worker": "script"},
	} {
		for _, r := range []*http.Request{
			httptest.NewRequest("GET", "/device", nil), httptest.NewRequest("GET", "/device/confirm", nil), httptest.NewRequest("GET", "/device/connections", nil),
			post("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}}), post("/device/sign-out", url.Values{"ticket": {ticket}}),
		} {
			for name, value := range headers {
				r.Header.Set(name, value)
			}
			b.request(r)
			b.sees(403, "did not come from this page")
			if ticketField.MatchString(b.page) || strings.Contains(b.page, "Alice") {
				t.Errorf("%v: the page has a ticket, or says who is signed in:\n%s", headers, b.page)
			}
		}
	}
	r := httptest.NewRequest("GET", "/oauth2/authorize", nil) // whose refusals are pages, for people
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	if b.request(r); ticketField.MatchString(b.page) || !strings.Contains(b.page, "<h1>") {
		t.Errorf("a script reads:\n%s", b.page)
	}
	r = httptest.NewRequest("GET", "/device/confirm", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	b.request(r)
	b.sees(200, "Connect TV")
	if b.header.Get("Cross-Origin-Opener-Policy") != "same-origin" || b.header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
		t.Errorf("headers %v", b.header)
	}
}

// protocol 35: a window that is steered somewhere counts nothing and asks nothing.
func TestGetLooksNoCodeUp(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	for range 20 {
		b.open("/device?user_code=BBBB-BBBB")
		b.open("/device/confirm")
		b.sees(200, "Connect a device")
	}
	b.ask()
	b.sees(200, "Connect TV")
}

// protocol 41
func TestSessionThatWasTakenAlongDecidesNothing(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.in()
	_, code := b.ask()
	home, ticket := s.from, b.ticket()
	s.from = netip.MustParseAddr("203.0.113.5") // the same cookies, somewhere else
	b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	b.sees(403, "another network than when you signed in")
	b.open("/device/confirm")
	b.sees(403, "another network than when you signed in")
	b.submit("/device/connections", url.Values{"ticket": {ticket}, "device": {"all"}})
	b.sees(403, "another network than when you signed in")
	refuses(t, s.poll(code), 400, "authorization_pending")
	b.in() // the person has moved, and signs in there
	s.from = home
	b.open("/device/confirm")
	b.sees(200, "Connect TV")
}

// Whoever has moved and signs in again goes on with what their page was about, and
// not with what another tab has brought since; the operator hears of it.
//
// protocol 39, 41
func TestWhoHasMovedGoesOnWithTheirPage(t *testing.T) {
	var events []string
	s := newSite(t, func(c *deviceauth.Config) {
		c.Events = func(e deviceauth.Event) { events = append(events, e.Name+" "+e.Reason) }
	})
	b := s.browser()
	b.in()
	first, _ := b.ask()
	ticket := b.ticket()
	b.ask() // another tab
	s.from = netip.MustParseAddr("203.0.113.5")
	b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	b.sees(403, "another network than when you signed in")
	if !slices.Contains(events, "decision_refused moved") {
		t.Errorf("the audit log has %q", events)
	}
	b.in()
	b.sees(200, first)
	ticket = b.ticket()
	s.from = netip.MustParseAddr("198.51.100.77")
	b.submit("/device/connections", url.Values{"ticket": {ticket}, "device": {"all"}})
	b.sees(403, "another network than when you signed in")
	b.in()
	b.sees(200, "Your devices")
	b.open("/device/confirm")
	b.sees(200, first)
}

// Another site cannot have the browser sign in again, maybe as somebody else, by a
// link or a redirect: the person is shown the button.
//
// protocol 35, 41
func TestAnotherSiteBeginsNoSignIn(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	before := b.signIn.begun
	for _, site := range []string{"cross-site", "same-site"} {
		for _, path := range []string{"/device/sign-in?with=work", "/device/sign-in", "/device/sign-in?switch=1&with=work"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Sec-Fetch-Site", site)
			b.request(r)
			b.sees(200, "with=work")
			if strings.Contains(b.page, `http-equiv="refresh"`) || b.signIn.begun != before {
				t.Errorf("%s %s begins a sign-in", site, path)
			}
		}
	}
	b.open("/device/connections")
	b.sees(200, "Your devices")
	r := httptest.NewRequest("GET", "/device/sign-in?with=work", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	b.request(r)
	if b.status != http.StatusSeeOther || b.signIn.begun == before {
		t.Errorf("the person's own click: %d", b.status)
	}
}

// protocol 41
func TestSessionIsOverForWhoeverHasItsCookie(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	b.ask()
	stolen := b.site.browser()
	for name, value := range b.cookies {
		if len(value) > 200 {
			t.Errorf("the cookie %s has %d characters", name, len(value))
		}
		stolen.cookies[name] = value
	}
	stolen.open("/device/connections")
	stolen.sees(200, "Your devices")
	b.submit("/device/sign-out", url.Values{"ticket": {b.ticket()}, "then": {"leave"}})
	b.sees(200, "You are signed out")
	stolen.open("/device/connections")
	stolen.sees(200, "Sign in with")
}

// protocol 41
func TestNewSignInIsAskedForWhereTheDeviceWantsOne(t *testing.T) {
	s := newSite(t, func(c *deviceauth.Config) { c.Clients[0].FreshSignIn = true })
	b := s.browser()
	b.in()
	_, code := b.ask()
	b.sees(200, "Sign in again")
	b.sees(200, "with=work")
	b.open("/device/sign-in?with=work") // the attempt of somebody who takes the parameter away
	b.open("/device/callback?code=c&state=" + b.signIn.begun.State)
	b.sees(200, "Sign in again")
	b.open("/device/sign-in?fresh=1&with=work")
	if !s.signIn.begun.FreshSignIn {
		t.Error("the upstream is not asked for a new sign-in")
	}
	b.open("/device/callback?code=c&state=" + b.signIn.begun.State)
	b.sees(200, "Connect TV")
	b.answers("answer", "allow")
	b.sees(200, "is connected")
	if w := s.poll(code); w.Code != 200 {
		t.Errorf("the device: %d %s", w.Code, w.Body)
	}
}

// protocol 24, 41
func TestUpstreamEndsThePersonsSessionHere(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.in()
	_, access := b.connect()
	for body, status := range map[string]int{"": 400, "logout_token=": 400, "logout_token=forged": 400, "logout_token=fault": 503} {
		if w := s.post("/device/backchannel-logout", form, body); w.Code != status || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	}
	if !s.admits(access) {
		t.Error("a forged token ended a device")
	}
	if w := s.post("/device/backchannel-logout", form, "logout_token=good"); w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if s.admits(access) {
		t.Error("the device is still in")
	}
	b.open("/device/connections")
	b.sees(403, "You have been signed out")
	if strings.Contains(b.page, "Signed in as") {
		t.Errorf("the page says that somebody is signed in:\n%s", b.page)
	}
	b.open("/device/connections")
	b.sees(200, "Sign in")
	b.in()
	b.ask()
	b.sees(200, "Connect TV")
}

// another is a second upstream beside the first.
type another struct{ *signIn }

func (another) ID() string    { return "home" }
func (another) Label() string { return "Home" }

func TestUpstreamThatIsDownIsShownSo(t *testing.T) {
	s := newSite(t)
	s.again(func(c *httpapi.Config) {
		c.Upstreams = append(c.Upstreams, another{&signIn{person: s.signIn.person, down: true}})
	})
	b := s.browser()
	b.submit("/device", url.Values{"user_code": {"BBBB-BBBB"}})
	b.sees(200, "Home cannot be reached right now.")
	b.sees(200, "Sign in with Example &lt;Work&gt;")
	if strings.Contains(b.page, "http-equiv") {
		t.Error("the page chooses by itself")
	}
	b.open("/device/sign-in?with=home")
	b.sees(503, "Home cannot be reached right now")
	b.open("/device/sign-in")
	b.in()
	b.sees(404, "does not work")
}

// hanging is an upstream that does not answer.
type hanging struct{ another }

func (hanging) Reachable(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("no answer")
}

func TestUpstreamThatHangsHoldsNobodyUp(t *testing.T) {
	s := newSite(t)
	s.again(func(c *httpapi.Config) {
		c.Upstreams = append(c.Upstreams, hanging{another{s.signIn}})
	})
	b := s.browser()
	b.open("/device/sign-in")
	b.sees(200, "Home cannot be reached right now.")
}

func TestPagesSpeakTheLanguageOfTheBrowser(t *testing.T) {
	s := newSite(t)
	for language, want := range map[string]string{"de": "Gerät verbinden", "fr": "Associer un appareil", "ja": `lang="ja"`, "zh-CN": `lang="zh"`, "pt-BR": `lang="pt"`, "es": `lang="es"`, "nl": "Connect a device"} {
		if w := s.get("/device", "Accept-Language", language); !strings.Contains(w.Body.String(), want) || w.Header().Get("Content-Language") == "" {
			t.Errorf("%s: %v\n%s", language, w.Header(), w.Body)
		}
	}
}
