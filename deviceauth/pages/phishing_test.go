package pages_test

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
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// lured is a person who enters the code of a device elsewhere.
func lured(s *gatewaytest.Site) (b *gatewaytest.Browser, deviceCode string) {
	s.Helper()
	b = s.Browser()
	v := gatewaytest.JSON(s.T, s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv"))
	s.From = netip.MustParseAddr("198.51.100.9")
	b.SignIn()
	b.Submit("/device", url.Values{"user_code": {v["user_code"].(string)}})
	return b, v["device_code"].(string)
}

func answers(b *gatewaytest.Browser, fields ...string) {
	b.Helper()
	values := url.Values{"ticket": {b.Ticket()}}
	for i := 0; i < len(fields); i += 2 {
		values.Set(fields[i], fields[i+1])
	}
	b.Submit("/device/confirm", values)
}

// protocol 38
func TestAnotherNetworkIsASecondQuestion(t *testing.T) {
	s := gatewaytest.New(t)
	b, code := lured(s)
	for _, want := range []string{"another network", "192.0.2.7", "198.51.100.9"} {
		b.Sees(200, want)
	}
	answers(b, "answer", "allow")
	b.Sees(200, "Who started this?")
	answers(b, "answer", "allow", "checked", "yes")
	b.Sees(400, "Choose one of the two answers")
	answers(b, "answer", "allow", "checked", "yes", "started", "somebody")
	b.Sees(400, "Choose one of the two answers")
	gatewaytest.Refused(t, s.Poll(code), 400, "authorization_pending")
	answers(b, "answer", "allow", "checked", "yes", "started", "me")
	b.Sees(200, "is connected")
}

func TestWhoWasSentTheCodeSaysSo(t *testing.T) {
	s := gatewaytest.New(t)
	b, code := lured(s)
	answers(b, "answer", "allow")
	answers(b, "answer", "allow", "checked", "yes", "started", "other")
	b.Sees(200, "never enter a code that somebody sends you")
	if strings.Contains(b.Page, "Whom to tell") {
		t.Error("nobody is to be told, and the page says whom")
	}
	gatewaytest.Refused(t, s.Poll(code), 400, "access_denied")
}

// protocol 38
func TestRequiredNetworkOffersNoYes(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Network = deviceauth.NetworkRequire })
	b, code := lured(s)
	b.Sees(200, "only from its own network")
	if strings.Contains(b.Page, `value="allow"`) {
		t.Error("the page offers to allow it")
	}
	ticket := b.Ticket()
	for _, more := range []url.Values{{}, {"started": {"me"}}, {"started": {"me"}, "checked": {"yes"}}} {
		more.Set("ticket", ticket)
		more.Set("answer", "allow")
		b.Submit("/device/confirm", more)
		b.Sees(403, "another network")
	}
	gatewaytest.Refused(t, s.Poll(code), 400, "authorization_pending")
}

// protocol 35: only a navigation of the user's own browser gets a page.
func TestPagesAnswerNavigationsAlone(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Ask()
	ticket := b.Ticket()
	for _, headers := range []map[string]string{
		{"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"},
		{"Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
		{"Sec-Fetch-Dest": "image"}, {"Service-Worker": "script", "Sec-Fetch-Dest": "serviceworker"},
		{"Service-Worker": "script"},
	} {
		for _, r := range []*http.Request{
			httptest.NewRequest("GET", "/device", nil), httptest.NewRequest("GET", "/device/confirm", nil),
			httptest.NewRequest("GET", "/device/connections", nil),
			gatewaytest.Post("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}}),
			gatewaytest.Post("/device/sign-out", url.Values{"ticket": {ticket}}),
		} {
			for name, value := range headers {
				r.Header.Set(name, value)
			}
			b.Request(r)
			b.Sees(403, "did not come from this page")
			if gatewaytest.TicketField.MatchString(b.Page) || strings.Contains(b.Page, "Alice") {
				t.Errorf("%v: the page has a ticket, or says who is signed in:\n%s", headers, b.Page)
			}
		}
	}
	r := httptest.NewRequest("GET", "/oauth2/authorize", nil) // whose refusals are pages, for people
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "cors")
	if b.Request(r); gatewaytest.TicketField.MatchString(b.Page) || !strings.Contains(b.Page, "<h1>") {
		t.Errorf("a script reads:\n%s", b.Page)
	}
	r = httptest.NewRequest("GET", "/device/confirm", nil)
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	b.Request(r)
	b.Sees(200, "Connect TV")
	if b.Header.Get("Cross-Origin-Opener-Policy") != "same-origin" ||
		b.Header.Get("Cross-Origin-Resource-Policy") != "same-origin" {
		t.Errorf("headers %v", b.Header)
	}
}

// protocol 35: a window that is steered somewhere counts nothing and asks nothing.
func TestGetLooksNoCodeUp(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	for range 20 {
		b.Open("/device?user_code=BBBB-BBBB")
		b.Open("/device/confirm")
		b.Sees(200, "Connect a device")
	}
	b.Ask()
	b.Sees(200, "Connect TV")
}

// protocol 41
func TestSessionThatWasTakenAlongDecidesNothing(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	home, ticket := s.From, b.Ticket()
	s.From = netip.MustParseAddr("203.0.113.5") // the same cookies, somewhere else
	b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	b.Sees(403, "another network than when you signed in")
	b.Open("/device/confirm")
	b.Sees(403, "another network than when you signed in")
	b.Submit("/device/connections", url.Values{"ticket": {ticket}, "device": {"all"}})
	b.Sees(403, "another network than when you signed in")
	gatewaytest.Refused(t, s.Poll(code), 400, "authorization_pending")
	b.SignIn() // the person has moved, and signs in there
	s.From = home
	b.Open("/device/confirm")
	b.Sees(200, "Connect TV")
}

// A user whose network has changed and who signs in again continues with the request
// of their own page, and not with one that another tab has brought since; an event
// reports the change.
//
// protocol 39, 41
func TestWhoHasMovedGoesOnWithTheirPage(t *testing.T) {
	var events []string
	s := gatewaytest.New(t, func(c *deviceauth.Config) {
		c.Events = func(e deviceauth.Event) { events = append(events, e.Name+" "+e.Reason) }
	})
	b := s.Browser()
	b.SignIn()
	first, _ := b.Ask()
	ticket := b.Ticket()
	b.Ask() // another tab
	s.From = netip.MustParseAddr("203.0.113.5")
	b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	b.Sees(403, "another network than when you signed in")
	if !slices.Contains(events, "decision_refused moved") {
		t.Errorf("the audit log has %q", events)
	}
	b.SignIn()
	b.Sees(200, first)
	ticket = b.Ticket()
	s.From = netip.MustParseAddr("198.51.100.77")
	b.Submit("/device/connections", url.Values{"ticket": {ticket}, "device": {"all"}})
	b.Sees(403, "another network than when you signed in")
	b.SignIn()
	b.Sees(200, "Your devices")
	b.Open("/device/confirm")
	b.Sees(200, first)
}

// Another site cannot make the browser sign in again, perhaps as another person, by a
// link or a redirect: the user has to press a button.
//
// protocol 35, 41
func TestAnotherSiteBeginsNoSignIn(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	before := b.Upstream.Begun
	for _, site := range []string{"cross-site", "same-site"} {
		for _, path := range []string{"/device/sign-in?with=work", "/device/sign-in",
			"/device/sign-in?switch=1&with=work"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Header.Set("Sec-Fetch-Site", site)
			b.Request(r)
			b.Sees(200, "with=work")
			if strings.Contains(b.Page, `http-equiv="refresh"`) || b.Upstream.Begun != before {
				t.Errorf("%s %s begins a sign-in", site, path)
			}
		}
	}
	b.Open("/device/connections")
	b.Sees(200, "Your devices")
	r := httptest.NewRequest("GET", "/device/sign-in?with=work", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	b.Request(r)
	if b.Status != http.StatusSeeOther || b.Upstream.Begun == before {
		t.Errorf("the person's own click: %d", b.Status)
	}
}

// protocol 41
func TestSessionIsOverInEveryBrowser(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Ask()
	stolen := b.Site.Browser()
	for name, value := range b.Cookies {
		if len(value) > 200 {
			t.Errorf("the cookie %s has %d characters", name, len(value))
		}
		stolen.Cookies[name] = value
	}
	stolen.Open("/device/connections")
	stolen.Sees(200, "Your devices")
	b.Submit("/device/sign-out", url.Values{"ticket": {b.Ticket()}, "then": {"leave"}})
	b.Sees(200, "You are signed out")
	stolen.Open("/device/connections")
	stolen.Sees(200, "Sign in with")
}

// protocol 41
func TestNewSignInIsAskedForWhereTheDeviceWantsOne(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Clients[0].FreshSignIn = true })
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	b.Sees(200, "Sign in again")
	b.Sees(200, "with=work")
	b.Open("/device/sign-in?with=work") // an attempt without the parameter
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(200, "Sign in again")
	b.Open("/device/sign-in?fresh=1&with=work")
	if !s.Upstream.Begun.FreshSignIn {
		t.Error("the upstream is not asked for a new sign-in")
	}
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(200, "Connect TV")
	answers(b, "answer", "allow")
	b.Sees(200, "is connected")
	if w := s.Poll(code); w.Code != 200 {
		t.Errorf("the device: %d %s", w.Code, w.Body)
	}
}

// protocol 24, 41
func TestUpstreamEndsThePersonsSessionHere(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.SignIn()
	_, access := connect(b)
	for body, status := range map[string]int{"": 400, "logout_token=": 400, "logout_token=forged": 400,
		"logout_token=fault": 503} {
		if w := s.Post("/device/backchannel-logout", gatewaytest.Form, body); w.Code != status ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%q: %d %s", body, w.Code, w.Body)
		}
	}
	if !admits(s, access) {
		t.Error("a forged token ended a device")
	}
	if w := s.Post("/device/backchannel-logout", gatewaytest.Form, "logout_token=good"); w.Code != 200 ||
		w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if admits(s, access) {
		t.Error("the device is still in")
	}
	b.Open("/device/connections")
	b.Sees(403, "You have been signed out")
	if strings.Contains(b.Page, "Signed in as") {
		t.Errorf("the page says that somebody is signed in:\n%s", b.Page)
	}
	b.Open("/device/connections")
	b.Sees(200, "Sign in")
	b.SignIn()
	b.Ask()
	b.Sees(200, "Connect TV")
}

func TestUpstreamThatIsDownIsShownSo(t *testing.T) {
	s := gatewaytest.New(t)
	s.Reconfigure(func(c *gateway.HandlerConfig) {
		c.Upstreams = append(c.Upstreams,
			gatewaytest.Home{Upstream: &gatewaytest.Upstream{Person: s.Upstream.Person, Down: true}})
	})
	b := s.Browser()
	b.Submit("/device", url.Values{"user_code": {"BBBB-BBBB"}})
	b.Sees(200, "Home cannot be reached right now.")
	b.Sees(200, "Sign in with Example &lt;Work&gt;")
	if strings.Contains(b.Page, "http-equiv") {
		t.Error("the page chooses by itself")
	}
	b.Open("/device/sign-in?with=home")
	b.Sees(503, "Home cannot be reached right now")
	b.Open("/device/sign-in")
	b.SignIn()
	b.Sees(404, "does not work")
}

// hanging is an upstream that does not answer.
type hanging struct{ gatewaytest.Home }

func (hanging) Reachable(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("no answer")
}

func TestUpstreamThatHangsDoesNotBlockTheOthers(t *testing.T) {
	s := gatewaytest.New(t)
	s.Reconfigure(func(c *gateway.HandlerConfig) {
		c.Upstreams = append(c.Upstreams, hanging{Home: gatewaytest.Home{Upstream: s.Upstream}})
	})
	b := s.Browser()
	b.Open("/device/sign-in")
	b.Sees(200, "Home cannot be reached right now.")
}

func TestPageIsServedInTheLanguageOfTheBrowser(t *testing.T) {
	s := gatewaytest.New(t)
	for language, want := range map[string]string{"de": "Gerät verbinden", "fr": "Associer un appareil",
		"ja": `lang="ja"`, "zh-CN": `lang="zh"`, "pt-BR": `lang="pt"`, "es": `lang="es"`, "tlh": "Connect a device"} {
		if w := s.Get("/device", "Accept-Language", language); !strings.Contains(w.Body.String(), want) ||
			w.Header().Get("Content-Language") == "" {
			t.Errorf("%s: %v\n%s", language, w.Header(), w.Body)
		}
	}
}
