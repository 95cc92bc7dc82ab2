package httpapi_test

import (
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// protocol 42
func TestEveryPageHasItsHeaders(t *testing.T) {
	b := newSite(t).browser()
	visit := func(path string) {
		t.Helper()
		b.open(path)
		h := b.header
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe-inline") || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, h)
		}
		if strings.Contains(b.page, "<script>") || strings.Contains(b.page, "style=") || strings.Contains(b.page, " onclick") {
			t.Errorf("%s has inline script or style", path)
		}
	}
	visit("/device")
	visit("/device/connections")
	visit("/device/sign-in")
	visit("/device/callback?state=x")
	b.in()
	visit("/device")
	b.ask()
	visit("/device/confirm")
	b.submit("/device/confirm", url.Values{"ticket": {b.ticket()}, "answer": {"deny"}})
	b.ask()
	b.request(post("/device/confirm", url.Values{"ticket": {b.ticket()}, "answer": {"allow"}}))
	visit(b.header.Get("Location"))
}

// protocol 35, 45
func TestCodeInTheAddressIsOnlyFilledIn(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	b.request(httptest.NewRequest("GET", "/device?user_code=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", nil))
	if b.status != 303 || b.header.Get("Location") != "/device" {
		t.Fatalf("got %d to %q", b.status, b.header.Get("Location"))
	}
	b.open("/device")
	if strings.Contains(b.page, "<script>alert") {
		t.Errorf("a hostile code is no text:\n%s", b.page)
	}
	v := says(t, b.post("/oauth2/device_authorization", form, "client_id=tv"))
	b.open("/device?user_code=" + v["user_code"].(string))
	b.sees(200, `value="`+v["user_code"].(string)+`"`)
	refuses(t, b.poll(v["device_code"].(string)), 400, "authorization_pending")
}

// protocol 36
func TestWrongExpiredAndUsedCodesGetOnePage(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	used, _ := b.ask()
	b.submit("/device/confirm", url.Values{"ticket": {b.ticket()}, "answer": {"allow"}})
	b.submit("/device", url.Values{"user_code": {used}})
	usedPage, usedStatus := b.page, b.status
	b.submit("/device", url.Values{"user_code": {"BBBB-BBBB"}})
	b.sees(404, "That code does not work")
	secrets := regexp.MustCompile(`(value|data-typed)="[^"]*"`)
	if secrets.ReplaceAllString(b.page, "") != secrets.ReplaceAllString(usedPage, "") || b.status != usedStatus {
		t.Error("the pages of a used and of a wrong code differ")
	}
}

// protocol 36
func TestTooManyWrongCodesAreToldTheTimeToWait(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	for _, last := range "BCDFG" {
		b.submit("/device", url.Values{"user_code": {"BBBB-BBB" + string(last)}})
		b.sees(404, "That code does not work")
	}
	b.ask()
	b.sees(429, "Please wait 10 minutes")
	if b.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// protocol 36
func TestCodeIsLookedUpOnlyForSomebodySignedIn(t *testing.T) {
	b := newSite(t).browser()
	for _, code := range []string{"BBBB-BBBB", says(t, b.post("/oauth2/device_authorization", form, "client_id=tv"))["user_code"].(string)} {
		b.submit("/device", url.Values{"user_code": {code}})
		b.sees(200, "Sign in with Example &lt;Work&gt;")
	}
	b.open("/device/callback?code=c&state=" + b.signIn.begun.State)
	b.sees(400, "This sign-in is over") // nobody began one
}

// protocol 37
func TestCallbackWorksOnceAndOnlyInItsBrowser(t *testing.T) {
	s := newSite(t)
	b, thief := s.browser(), s.browser()
	b.open("/device/sign-in?with=work")
	if a := s.signIn.begun; a.State == "" || a.Nonce == "" || a.Verifier == "" || a.State == a.Nonce || a.RedirectURI != "https://api.example.com/device/callback" {
		t.Errorf("began with %+v", a)
	}
	callback := "/device/callback?code=c&state=" + s.signIn.begun.State
	thief.open(callback)
	thief.sees(400, "This sign-in is over")
	b.open(callback)
	b.sees(200, "Signed in as Alice &lt;i&gt;")
	b.open(callback)
	b.sees(400, "This sign-in is over")
	b.open("/device")
	b.sees(200, "Signed in as") // the replay ended nothing
}

// protocol 37
func TestTwoTabsSignInBesideEachOther(t *testing.T) {
	b := newSite(t).browser()
	b.open("/device/sign-in?with=work")
	first := b.signIn.begun.State
	b.open("/device/sign-in?with=work")
	b.open("/device/callback?code=c&state=" + first)
	b.sees(200, "Signed in as")
}

// protocol 37
func TestFiveSignInsAreUnderWayAtMost(t *testing.T) {
	b := newSite(t).browser()
	b.cookies["__Secure-device_signin_x"] = "nothing"
	var states []string
	for range 8 {
		b.open("/device/sign-in?with=work")
		states = append(states, b.signIn.begun.State)
	}
	kept := 0
	for name := range b.cookies {
		if strings.Contains(name, "signin") {
			kept++
		}
	}
	if kept != 5 || b.cookies["__Secure-device_signin_x"] != "" {
		t.Errorf("%d sign-ins are kept: %v", kept, b.cookies)
	}
	b.open("/device/callback?code=c&state=" + states[2])
	b.sees(400, "This sign-in is over")
	for _, i := range []int{3, 7} {
		b.open("/device/callback?code=c&state=" + states[i])
		b.sees(200, "Signed in as")
	}
}

// A neighbouring host can set the cookie of a sign-in, which is its own, and
// send the browser to the callback: it signs nobody in as somebody else.
//
// protocol 37
func TestSignInOfAnotherBrowserIsNotTakenOver(t *testing.T) {
	s := newSite(t)
	mallory, b := s.browser(), s.browser()
	mallory.open("/device/sign-in?with=work")
	state := s.signIn.begun.State
	for _, before := range []func(){func() {}, func() { b.open("/device") }, func() { b.in() }} {
		before()
		for name, value := range mallory.cookies {
			if strings.HasPrefix(name, "__Secure-") {
				b.cookies[name] = value
			}
		}
		b.open("/device/callback?code=c&state=" + state)
		b.sees(400, "This sign-in is over")
	}
}

// protocol 39
func TestSignInGoesOnWithTheCodeThatWasTyped(t *testing.T) {
	s := newSite(t)
	ask := func() string {
		return says(t, s.post("/oauth2/device_authorization", form, "client_id=tv"))["user_code"].(string)
	}
	mine, theirs := ask(), ask()
	b := s.browser()
	b.submit("/device", url.Values{"user_code": {mine}})
	b.open("/device/sign-in?with=work")
	state := s.signIn.begun.State
	// Another tab.
	b.submit("/device", url.Values{"user_code": {theirs}})
	other := b.cookies["__Host-device_flow"]
	b.open("/device/callback?code=c&state=" + state)
	b.sees(200, mine)
	// A link to a code, and one to the devices.
	b.cookies["__Host-device_flow"] = other
	b.open("/device/sign-in?with=work")
	state = s.signIn.begun.State
	b.open("/device?user_code=" + mine)
	b.submit("/device/sign-out", url.Values{"ticket": {b.ticket()}})
	b.open("/device/connections")
	b.open("/device/callback?code=c&state=" + state)
	b.sees(200, theirs)
	// A sign-in without a code leads to no code.
	b = s.browser()
	b.open("/device/sign-in?with=work")
	state = s.signIn.begun.State
	b.submit("/device", url.Values{"user_code": {theirs}})
	b.open("/device/callback?code=c&state=" + state)
	b.sees(200, "Connect a device")
}

// protocol 37
func TestUpstreamErrorIsSaidAndCanBeRetried(t *testing.T) {
	b := newSite(t).browser()
	b.open("/device/sign-in?with=work")
	b.open("/device/callback?error=access_denied&state=" + b.signIn.begun.State)
	b.sees(403, "The sign-in was cancelled.")
	b.signIn.down = true
	b.open("/device/sign-in?with=work")
	b.sees(503, "Sign-in is unavailable")
	b.signIn.down = false
	b.in()
	b.sees(200, "Signed in as")
}

// protocol 38
func TestDecisionNeedsTheTicketOfThisSession(t *testing.T) {
	s := newSite(t)
	b, other := s.browser(), s.browser()
	b.in()
	other.in()
	_, code := b.ask()
	ticket := b.ticket()
	allow := func(b *browser, ticket string) {
		b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	}
	for _, wrong := range []string{"", "x", ticket + "A", ticket[1:]} {
		allow(b, wrong)
		b.sees(403, "out of date")
	}
	allow(other, ticket)
	other.sees(403, "out of date")
	b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"maybe"}})
	b.sees(403, "out of date")
	r := httptest.NewRequest("POST", "/device/confirm", strings.NewReader(url.Values{"ticket": {ticket}, "answer": {"allow"}}.Encode()))
	r.Header.Set("Content-Type", form)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	b.request(r)
	b.sees(403, "sent from another site")
	refuses(t, s.poll(code), 400, "authorization_pending")
	r = httptest.NewRequest("POST", "/device/confirm", strings.NewReader(url.Values{"ticket": {ticket}, "answer": {"allow"}}.Encode()))
	r.Header.Set("Content-Type", form)
	r.Header.Set("Origin", "null") // what an old browser sends under no-referrer
	b.request(r)
	done := b.header.Get("Location")
	for range 2 { // a reload is harmless
		b.open(done)
		b.sees(200, "is connected")
	}
	b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"deny"}})
	b.sees(409, "has been answered")
	if w := s.poll(code); w.Code != 200 {
		t.Errorf("the second answer changed the first: %d %s", w.Code, w.Body)
	}
}

// protocol 39
func TestAllowIsAboutTheGrantThatThePageShowed(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	_, first := b.ask()
	ticket := b.ticket()
	_, second := b.ask() // another tab
	b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	if w := b.poll(first); w.Code != 200 {
		t.Errorf("the first: %d %s", w.Code, w.Body)
	}
	refuses(t, b.poll(second), 400, "authorization_pending")
}

// protocol 40
func TestOtherPersonIsToldThatItIsDone(t *testing.T) {
	s := newSite(t)
	first, second := s.browser(), s.browser()
	first.in()
	s.signIn.person = &deviceauth.Person{Subject: "work|2", Upstream: "work", User: "bob", Claims: s.signIn.person.Claims}
	second.in()
	user, code := first.ask()
	second.submit("/device", url.Values{"user_code": {user}})
	second.sees(200, "Connect TV")
	first.submit("/device/confirm", url.Values{"ticket": {first.ticket()}, "answer": {"allow"}})
	second.submit("/device/confirm", url.Values{"ticket": {second.ticket()}, "answer": {"allow"}})
	second.sees(409, "has been answered")
	access := says(t, s.poll(code))["access_token"].(string)
	if id, err := s.engine.ValidateToken(t.Context(), access, deviceauth.Requirement{}); err != nil || id.Person.User != "alice" {
		t.Errorf("the device is %+v's, %v", id, err)
	}
}

// protocol 46
func TestNoPageLeadsWhereARequestWants(t *testing.T) {
	s := newSite(t)
	hostile := url.Values{}
	for _, name := range []string{"next", "return_to", "redirect_uri", "redirect", "url", "with", "user_code", "state", "code", "iss", "error", "error_description", "switch"} {
		hostile.Set(name, "https://evil.example/")
	}
	look := func(what string, w *httptest.ResponseRecorder) {
		t.Helper()
		for name, values := range w.Header() {
			if strings.Contains(strings.Join(values, " "), "evil.example") && name != "Set-Cookie" {
				t.Errorf("%s: %s: %s", what, name, values)
			}
		}
		if text := w.Body.String(); strings.Contains(text, `href="https://evil.example`) || strings.Contains(text, `action="https://evil.example`) || strings.Contains(text, "url=https://evil.example") {
			t.Errorf("%s leads to evil.example:\n%s", what, text)
		}
	}
	for _, path := range []string{"/device", "/device/sign-in", "/device/callback", "/device/confirm", "/device/done", "/device//evil.example", "/.well-known/openid-configuration"} {
		for _, headers := range [][]string{nil, {"Referer", "https://evil.example/"}, {"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example"}} {
			r := httptest.NewRequest("GET", "https://evil.example"+path+"?"+hostile.Encode(), nil)
			look("GET "+path, s.do(r, headers...))
			look("POST "+path, s.post(path, form, hostile.Encode(), headers...))
		}
	}
	r := httptest.NewRequest("POST", "https://evil.example/oauth2/device_authorization", strings.NewReader("client_id=tv"))
	r.Header.Set("Content-Type", form)
	look("a device's request", s.do(r))
}

// protocol 41
func TestCookiesAreTheHostsOwn(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.in()
	for name := range b.cookies {
		if !strings.HasPrefix(name, "__Host-") {
			t.Errorf("cookie %s", name)
		}
	}
	w := s.get("/device/sign-in?with=work")
	for _, c := range w.Result().Cookies() {
		prefix, path := "__Host-device_", "/"
		if strings.Contains(c.Name, "signin") { // only the pages are sent it
			prefix, path = "__Secure-device_", "/device"
		}
		if !c.Secure || !c.HttpOnly || c.Path != path || !strings.HasPrefix(c.Name, prefix) || c.SameSite != 2 || c.Domain != "" {
			t.Errorf("cookie %v", c)
		}
	}
}

// protocol 41
func TestSwitchingTheAccountEndsTheSession(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	b.ask()
	b.submit("/device/sign-out", url.Values{"ticket": {b.ticket()}, "then": {"switch"}})
	b.sees(200, "switch=1")
	b.open("/device/sign-in?with=work&switch=1")
	if !b.signIn.begun.SwitchAccount {
		t.Error("the upstream is not asked for another account")
	}
	b.open("/device/confirm")
	b.sees(200, "Sign in")
}

// protocol 43
func TestNamesAreText(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	b.ask()
	for _, want := range []string{"Connect TV &lt;b&gt;?", "by Maker", "Read &lt;everything&gt;", "Alice &lt;i&gt;", "just now from 192.0.2.7"} {
		b.sees(200, want)
	}
}

// protocol 44
func TestPersonOutsideTheRulesIsToldSo(t *testing.T) {
	s := newSite(t)
	s.signIn.person.Claims = deviceauth.Claims{"groups": "guests"}
	b := s.browser()
	b.in()
	_, code := b.ask()
	b.sees(403, "may not connect this device")
	refuses(t, s.poll(code), 400, "authorization_pending")
}

func TestSessionWithAThousandGroupsIsKept(t *testing.T) {
	s := newSite(t)
	groups := []any{"staff"}
	for i := range 1000 {
		groups = append(groups, strings.Repeat(string(rune('a'+i%26)), 3)+strings.Repeat("0123456789abcdef"[i%16:i%16+1], 8)+strings.ToUpper(deviceauth.ID{byte(i), byte(i >> 8)}.String()))
	}
	s.signIn.person.Claims = deviceauth.Claims{"groups": groups}
	b := s.browser()
	b.in()
	for name, value := range b.cookies {
		if len(name)+len(value) > 4000 {
			t.Errorf("cookie %s has %d bytes; browsers drop it", name, len(value))
		}
	}
	b.ask()
	b.sees(200, "Connect TV")
}

func TestAssetsAreAskedForOnce(t *testing.T) {
	s := newSite(t)
	w := s.get("/device/style.css")
	etag := w.Header().Get("ETag")
	if w.Code != 200 || etag == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if w := s.get("/device/style.css", "If-None-Match", etag); w.Code != 304 || w.Body.Len() > 0 {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
}

// connect goes all the way with a new device.
func (b *browser) connect() (deviceCode, access string) {
	b.Helper()
	_, code := b.ask()
	b.submit("/device/confirm", url.Values{"ticket": {b.ticket()}, "answer": {"allow"}})
	return code, says(b.T, b.poll(code))["access_token"].(string)
}

var deviceButton = regexp.MustCompile(`<button class="plain" name="device" value="([^"]+)"`)

func (b *browser) devices() (ids []string) {
	b.open("/device/connections")
	for _, button := range deviceButton.FindAllStringSubmatch(b.page, -1) {
		if button[1] != "all" {
			ids = append(ids, button[1])
		}
	}
	return ids
}

func (s *site) admits(access string) bool {
	_, err := s.engine.ValidateToken(s.Context(), access, deviceauth.Requirement{})
	return err == nil
}

// protocol 24, 38
func TestPersonSeesTheirDevicesAndCutsThemOff(t *testing.T) {
	s := newSite(t)
	b := s.browser()
	b.open("/device/connections") // leads to the sign-in, and back
	b.open("/device/sign-in?with=work")
	b.open("/device/callback?code=c&state=" + b.signIn.begun.State)
	b.sees(200, "No device is connected")
	_, first := b.connect()
	_, second := b.connect()
	_, third := b.connect()
	ids := b.devices()
	for _, want := range []string{"TV &lt;b&gt;", "by Maker", "Read &lt;everything&gt;", "just now from 192.0.2.7"} {
		b.sees(200, want)
	}
	if len(ids) != 3 {
		t.Fatalf("%d devices are shown", len(ids))
	}
	b.submit("/device/connections", url.Values{"device": {ids[0]}})
	b.sees(403, "out of date") // without the ticket
	b.open("/device/connections")
	ticket := b.ticket()
	b.submit("/device/connections", url.Values{"ticket": {ticket}, "device": {ids[0]}})
	if left := b.devices(); len(left) != 2 || s.admits(third) || !s.admits(first) || !s.admits(second) {
		t.Errorf("after one is cut off: %d are shown", len(left))
	}
	for device, status := range map[string]int{ids[0]: 200, "x": 403, strings.Repeat("A", 22): 404} {
		if b.submit("/device/connections", url.Values{"ticket": {ticket}, "device": {device}}); b.status != status {
			t.Errorf("device %q: %d, want %d", device, b.status, status)
		}
	}
	s.signIn.person = &deviceauth.Person{Subject: "work|2", Upstream: "work", User: "bob", Claims: s.signIn.person.Claims}
	other := s.browser()
	other.in()
	_, bobs := other.connect()
	other.open("/device/connections")
	other.submit("/device/connections", url.Values{"ticket": {other.ticket()}, "device": {ids[1]}})
	other.sees(404, "not among the devices")
	b.submit("/device/connections", url.Values{"ticket": {ticket}, "device": {"all"}})
	b.sees(200, "No device is connected")
	if s.admits(first) || s.admits(second) || !s.admits(bobs) {
		t.Error("all of one person's devices, and nobody else's, are to be cut off")
	}
}
