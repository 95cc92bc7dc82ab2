package pages_test

import (
	"crypto/rand"
	"encoding/base64"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 42
func TestEveryPageHasItsHeaders(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	visit := func(path string) {
		t.Helper()
		b.Open(path)
		h := b.Header
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe-inline") ||
			h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %v", path, h)
		}
		if strings.Contains(b.Page, "<script>") || strings.Contains(b.Page, "style=") ||
			strings.Contains(b.Page, " onclick") {
			t.Errorf("%s has inline script or style", path)
		}
	}
	visit("/device")
	visit("/device/connections")
	visit("/device/sign-in")
	visit("/device/callback?state=x")
	b.SignIn()
	visit("/device")
	b.Ask()
	visit("/device/confirm")
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"deny"}})
	b.Ask()
	b.Request(gatewaytest.Post("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}}))
	visit(b.Header.Get("Location"))
}

// protocol 35, 45
func TestCodeInTheAddressIsOnlyFilledIn(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Request(httptest.NewRequest("GET", "/device?user_code=%22%3E%3Cscript%3Ealert(1)%3C/script%3E", nil))
	if b.Status != 303 || b.Header.Get("Location") != "/device" {
		t.Fatalf("got %d to %q", b.Status, b.Header.Get("Location"))
	}
	b.Open("/device")
	if strings.Contains(b.Page, "<script>alert") {
		t.Errorf("a hostile code is no text:\n%s", b.Page)
	}
	v := gatewaytest.JSON(t, b.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv"))
	b.Open("/device?user_code=" + v["user_code"].(string))
	b.Sees(200, `value="`+v["user_code"].(string)+`"`)
	gatewaytest.Refused(t, b.Poll(v["device_code"].(string)), 400, "authorization_pending")
}

// protocol 36
func TestWrongExpiredAndUsedCodesGetOnePage(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	used, _ := b.Ask()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	b.Submit("/device", url.Values{"user_code": {used}})
	usedPage, usedStatus := b.Page, b.Status
	b.Submit("/device", url.Values{"user_code": {"BBBB-BBBB"}})
	b.Sees(404, "That code does not work")
	secrets := regexp.MustCompile(`(value|data-typed)="[^"]*"`)
	if secrets.ReplaceAllString(b.Page, "") != secrets.ReplaceAllString(usedPage, "") || b.Status != usedStatus {
		t.Error("the pages of a used and of a wrong code differ")
	}
}

// protocol 36
func TestTooManyWrongCodesAreToldTheTimeToWait(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	for _, last := range "BCDFG" {
		b.Submit("/device", url.Values{"user_code": {"BBBB-BBB" + string(last)}})
		b.Sees(404, "That code does not work")
	}
	b.Ask()
	b.Sees(429, "Please wait 10 minutes")
	if b.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// protocol 36
func TestCodeIsLookedUpOnlyAfterASignIn(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	for _, code := range []string{"BBBB-BBBB",
		gatewaytest.JSON(t, b.Post("/oauth2/device_authorization", gatewaytest.Form,
			"client_id=tv"))["user_code"].(string)} {
		b.Submit("/device", url.Values{"user_code": {code}})
		b.Sees(200, "Sign in with Example &lt;Work&gt;")
	}
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(400, "This sign-in is over") // no sign-in was begun
}

// protocol 37
func TestCallbackWorksOnceAndOnlyInItsBrowser(t *testing.T) {
	s := gatewaytest.New(t)
	b, thief := s.Browser(), s.Browser()
	b.Open("/device/sign-in?with=work")
	if a := s.Upstream.Begun; a.State == "" || a.Nonce == "" || a.Verifier == "" || a.State == a.Nonce ||
		a.RedirectURI != "https://api.example.com/device/callback" {
		t.Errorf("began with %+v", a)
	}
	callback := "/device/callback?code=c&state=" + s.Upstream.Begun.State
	thief.Open(callback)
	thief.Sees(400, "This sign-in is over")
	b.Open(callback)
	b.Sees(200, "Signed in as Alice &lt;i&gt;")
	b.Open(callback)
	b.Sees(400, "This sign-in is over")
	b.Open("/device")
	b.Sees(200, "Signed in as") // the replay ended nothing
}

// protocol 37
func TestTwoTabsSignInBesideEachOther(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.Open("/device/sign-in?with=work")
	first := b.Upstream.Begun.State
	b.Open("/device/sign-in?with=work")
	b.Open("/device/callback?code=c&state=" + first)
	b.Sees(200, "Signed in as")
}

// protocol 37
func TestFiveSignInsAreUnderWayAtMost(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.Cookies["__Secure-device_signin_x"] = "nothing"
	var states []string
	for range 8 {
		b.Open("/device/sign-in?with=work")
		states = append(states, b.Upstream.Begun.State)
	}
	kept := 0
	for name := range b.Cookies {
		if strings.Contains(name, "signin") {
			kept++
		}
	}
	if kept != 5 || b.Cookies["__Secure-device_signin_x"] != "" {
		t.Errorf("%d sign-ins are kept: %v", kept, b.Cookies)
	}
	b.Open("/device/callback?code=c&state=" + states[2])
	b.Sees(400, "This sign-in is over")
	for _, i := range []int{3, 7} {
		b.Open("/device/callback?code=c&state=" + states[i])
		b.Sees(200, "Signed in as")
	}
}

// Web servers refuse requests with too many bytes of headers, and then nothing helps for
// the ten minutes of the sign-ins.
//
// protocol 37
func TestSignInsUnderWayLeaveRoomForOthers(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	for i := range 8 {
		random := make([]byte, 1440)
		rand.Read(random)
		text := base64.RawURLEncoding.EncodeToString(random)
		b.Open(authorizeRequest("state", text[:960], "nonce", text[960:]))
		b.Open("/device/sign-in?with=work")
		size := 0
		for name, value := range b.Cookies {
			size += len(name) + len("=; ") + len(value)
		}
		if b.Upstream.Begun.State == "" || size > 12<<10 {
			t.Fatalf("%d bytes of cookies after %d sign-ins", size, i+1)
		}
	}
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(200, "asks")
}

// A neighbouring host can set the cookie of its own sign-in, and send the browser to
// the callback: this does not sign the user in as another person.
//
// protocol 37
func TestSignInOfAnotherBrowserIsNotTakenOver(t *testing.T) {
	s := gatewaytest.New(t)
	mallory, b := s.Browser(), s.Browser()
	mallory.Open("/device/sign-in?with=work")
	state := s.Upstream.Begun.State
	for _, before := range []func(){func() {}, func() { b.Open("/device") }, func() { b.SignIn() }} {
		before()
		for name, value := range mallory.Cookies {
			if strings.HasPrefix(name, "__Secure-") {
				b.Cookies[name] = value
			}
		}
		b.Open("/device/callback?code=c&state=" + state)
		b.Sees(400, "This sign-in is over")
	}
}

// protocol 39
func TestSignInGoesOnWithTheCodeThatWasTyped(t *testing.T) {
	s := gatewaytest.New(t)
	ask := func() string {
		return gatewaytest.JSON(t, s.Post("/oauth2/device_authorization", gatewaytest.Form,
			"client_id=tv"))["user_code"].(string)
	}
	mine, theirs := ask(), ask()
	b := s.Browser()
	b.Submit("/device", url.Values{"user_code": {mine}})
	b.Open("/device/sign-in?with=work")
	state := s.Upstream.Begun.State
	// Another tab.
	b.Submit("/device", url.Values{"user_code": {theirs}})
	other := b.Cookies["__Host-device_flow"]
	b.Open("/device/callback?code=c&state=" + state)
	b.Sees(200, mine)
	// A link to a code, and one to the devices.
	b.Cookies["__Host-device_flow"] = other
	b.Open("/device/sign-in?with=work")
	state = s.Upstream.Begun.State
	b.Open("/device?user_code=" + mine)
	b.Submit("/device/sign-out", url.Values{"ticket": {b.Ticket()}})
	b.Open("/device/connections")
	b.Open("/device/callback?code=c&state=" + state)
	b.Sees(200, theirs)
	// A sign-in without a code leads to no code.
	b = s.Browser()
	b.Open("/device/sign-in?with=work")
	state = s.Upstream.Begun.State
	b.Submit("/device", url.Values{"user_code": {theirs}})
	b.Open("/device/callback?code=c&state=" + state)
	b.Sees(200, "Connect a device")
}

// protocol 37
func TestUpstreamErrorIsSaidAndCanBeRetried(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.Open("/device/sign-in?with=work")
	b.Open("/device/callback?error=access_denied&state=" + b.Upstream.Begun.State)
	b.Sees(403, "The sign-in was cancelled.")
	b.Upstream.Down = true
	b.Open("/device/sign-in?with=work")
	b.Sees(503, "Sign-in is unavailable")
	b.Upstream.Down = false
	b.SignIn()
	b.Sees(200, "Signed in as")
}

// protocol 38
func TestDecisionNeedsTheTicketOfThisSession(t *testing.T) {
	s := gatewaytest.New(t)
	b, other := s.Browser(), s.Browser()
	b.SignIn()
	other.SignIn()
	_, code := b.Ask()
	ticket := b.Ticket()
	allow := func(b *gatewaytest.Browser, ticket string) {
		b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	}
	for _, wrong := range []string{"", "x", ticket + "A", ticket[1:]} {
		allow(b, wrong)
		b.Sees(403, "out of date")
	}
	allow(other, ticket)
	other.Sees(403, "out of date")
	b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"maybe"}})
	b.Sees(403, "out of date")
	r := httptest.NewRequest("POST", "/device/confirm",
		strings.NewReader(url.Values{"ticket": {ticket}, "answer": {"allow"}}.Encode()))
	r.Header.Set("Content-Type", gatewaytest.Form)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	b.Request(r)
	b.Sees(403, "sent from another site")
	gatewaytest.Refused(t, s.Poll(code), 400, "authorization_pending")
	r = httptest.NewRequest("POST", "/device/confirm",
		strings.NewReader(url.Values{"ticket": {ticket}, "answer": {"allow"}}.Encode()))
	r.Header.Set("Content-Type", gatewaytest.Form)
	r.Header.Set("Origin", "null") // what an old browser sends under no-referrer
	b.Request(r)
	done := b.Header.Get("Location")
	for range 2 { // a reload is harmless
		b.Open(done)
		b.Sees(200, "is connected")
	}
	b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"deny"}})
	b.Sees(409, "has been answered")
	if w := s.Poll(code); w.Code != 200 {
		t.Errorf("the second answer changed the first: %d %s", w.Code, w.Body)
	}
}

// protocol 39
func TestAllowIsAboutTheGrantThatThePageShowed(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	_, first := b.Ask()
	ticket := b.Ticket()
	_, second := b.Ask() // another tab
	b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	if w := b.Poll(first); w.Code != 200 {
		t.Errorf("the first: %d %s", w.Code, w.Body)
	}
	gatewaytest.Refused(t, b.Poll(second), 400, "authorization_pending")
}

// protocol 40
func TestOtherPersonIsToldThatItIsDone(t *testing.T) {
	s := gatewaytest.New(t)
	first, second := s.Browser(), s.Browser()
	first.SignIn()
	s.Upstream.Person = &deviceauth.Person{Subject: "work|2", Upstream: "work", User: "bob",
		Claims: s.Upstream.Person.Claims}
	second.SignIn()
	user, code := first.Ask()
	second.Submit("/device", url.Values{"user_code": {user}})
	second.Sees(200, "Connect TV")
	first.Submit("/device/confirm", url.Values{"ticket": {first.Ticket()}, "answer": {"allow"}})
	second.Submit("/device/confirm", url.Values{"ticket": {second.Ticket()}, "answer": {"allow"}})
	second.Sees(409, "has been answered")
	access := gatewaytest.JSON(t, s.Poll(code))["access_token"].(string)
	if id, err := s.Engine.ValidateToken(t.Context(), access, deviceauth.Requirement{}); err != nil ||
		id.Person.User != "alice" {
		t.Errorf("the device is %+v's, %v", id, err)
	}
}

// protocol 46
func TestNoPageLeadsWhereARequestWants(t *testing.T) {
	s := gatewaytest.New(t)
	hostile := url.Values{}
	for _, name := range []string{"next", "return_to", "redirect_uri", "redirect", "url", "with", "user_code", "state",
		"code", "iss", "error", "error_description", "switch"} {
		hostile.Set(name, "https://evil.example/")
	}
	look := func(what string, w *httptest.ResponseRecorder) {
		t.Helper()
		for name, values := range w.Header() {
			if strings.Contains(strings.Join(values, " "), "evil.example") && name != "Set-Cookie" {
				t.Errorf("%s: %s: %s", what, name, values)
			}
		}
		if text := w.Body.String(); strings.Contains(text, `href="https://evil.example`) ||
			strings.Contains(text, `action="https://evil.example`) ||
			strings.Contains(text, "url=https://evil.example") {
			t.Errorf("%s leads to evil.example:\n%s", what, text)
		}
	}
	for _, path := range []string{"/device", "/device/sign-in", "/device/callback", "/device/confirm", "/device/done",
		"/device//evil.example", "/.well-known/openid-configuration"} {
		for _, headers := range [][]string{nil, {"Referer", "https://evil.example/"},
			{"X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.example"}} {
			r := httptest.NewRequest("GET", "https://evil.example"+path+"?"+hostile.Encode(), nil)
			look("GET "+path, s.Do(r, headers...))
			look("POST "+path, s.Post(path, gatewaytest.Form, hostile.Encode(), headers...))
		}
	}
	r := httptest.NewRequest("POST", "https://evil.example/oauth2/device_authorization",
		strings.NewReader("client_id=tv"))
	r.Header.Set("Content-Type", gatewaytest.Form)
	look("a device's request", s.Do(r))
}

// protocol 41
func TestCookiesAreTheHostsOwn(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.SignIn()
	for name := range b.Cookies {
		if !strings.HasPrefix(name, "__Host-") {
			t.Errorf("cookie %s", name)
		}
	}
	w := s.Get("/device/sign-in?with=work")
	for _, c := range w.Result().Cookies() {
		prefix, path := "__Host-device_", "/"
		if strings.Contains(c.Name, "signin") { // only the pages are sent it
			prefix, path = "__Secure-device_", "/device"
		}
		if !c.Secure || !c.HttpOnly || c.Path != path || !strings.HasPrefix(c.Name, prefix) || c.SameSite != 2 ||
			c.Domain != "" {
			t.Errorf("cookie %v", c)
		}
	}
}

// protocol 41
func TestSwitchingTheAccountEndsTheSession(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Ask()
	b.Submit("/device/sign-out", url.Values{"ticket": {b.Ticket()}, "then": {"switch"}})
	b.Sees(200, "switch=1")
	b.Open("/device/sign-in?with=work&switch=1")
	if !b.Upstream.Begun.SwitchAccount {
		t.Error("the upstream is not asked for another account")
	}
	b.Open("/device/confirm")
	b.Sees(200, "Sign in")
}

// protocol 43
func TestNamesAreText(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Ask()
	for _, want := range []string{"Connect TV &lt;b&gt;?", "by Maker", "Read &lt;everything&gt;", "Alice &lt;i&gt;",
		"just now from 192.0.2.7"} {
		b.Sees(200, want)
	}
}

// protocol 44
func TestPersonOutsideTheRulesIsToldSo(t *testing.T) {
	s := gatewaytest.New(t)
	s.Upstream.Person.Claims = deviceauth.Claims{"groups": "guests"}
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	b.Sees(403, "may not connect this device")
	gatewaytest.Refused(t, s.Poll(code), 400, "authorization_pending")
}

func TestSessionWithAThousandGroupsIsKept(t *testing.T) {
	s := gatewaytest.New(t)
	groups := []any{"staff"}
	for i := range 1000 {
		groups = append(groups, strings.Repeat(string(rune('a'+i%26)), 3)+
			strings.Repeat("0123456789abcdef"[i%16:i%16+1], 8)+
			strings.ToUpper(deviceauth.ID{byte(i), byte(i >> 8)}.String()))
	}
	s.Upstream.Person.Claims = deviceauth.Claims{"groups": groups}
	b := s.Browser()
	b.SignIn()
	for name, value := range b.Cookies {
		if len(name)+len(value) > 4000 {
			t.Errorf("cookie %s has %d bytes; browsers drop it", name, len(value))
		}
	}
	b.Ask()
	b.Sees(200, "Connect TV")
}

func TestAssetsAreAskedForOnce(t *testing.T) {
	s := gatewaytest.New(t)
	w := s.Get("/device/style.css")
	etag := w.Header().Get("ETag")
	if w.Code != 200 || etag == "" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	if w := s.Get("/device/style.css", "If-None-Match", etag); w.Code != 304 || w.Body.Len() > 0 {
		t.Errorf("%d with %d bytes", w.Code, w.Body.Len())
	}
}

// connect goes all the way with a new device.
func connect(b *gatewaytest.Browser) (deviceCode, access string) {
	b.Helper()
	_, code := b.Ask()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	return code, gatewaytest.JSON(b.T, b.Poll(code))["access_token"].(string)
}

var deviceButton = regexp.MustCompile(`<button class="plain" name="device" value="([^"]+)"`)

func devices(b *gatewaytest.Browser) (ids []string) {
	b.Open("/device/connections")
	for _, button := range deviceButton.FindAllStringSubmatch(b.Page, -1) {
		if button[1] != "all" {
			ids = append(ids, button[1])
		}
	}
	return ids
}

func admits(s *gatewaytest.Site, access string) bool {
	_, err := s.Engine.ValidateToken(s.Context(), access, deviceauth.Requirement{})
	return err == nil
}

// A device that a person has just approved is listed and disconnected before it polls: the
// person may have seen a moment later that it was a stranger's.
//
// protocol 24, 38
func TestApprovedDeviceIsDisconnectedBeforeItPolls(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.SignIn()
	for _, all := range []bool{false, true} {
		_, code := b.Ask()
		b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
		ids := devices(b)
		if len(ids) != 1 || strings.Contains(b.Page, "Last used") {
			t.Fatalf("%d devices, want the one that was approved, and that was never used:\n%s", len(ids), b.Page)
		}
		if all {
			ids[0] = "all"
		}
		b.Submit("/device/connections", url.Values{"ticket": {b.Ticket()}, "device": {ids[0]}})
		if w := b.Poll(code); w.Code != 400 || gatewaytest.JSON(t, w)["access_token"] != nil {
			t.Errorf("after it was disconnected: %d %s", w.Code, w.Body)
		}
	}
}

// protocol 24, 38
func TestPersonSeesTheirDevicesAndCutsThemOff(t *testing.T) {
	s := gatewaytest.New(t)
	b := s.Browser()
	b.Open("/device/connections") // leads to the sign-in, and back
	b.Open("/device/sign-in?with=work")
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(200, "No device is connected")
	_, first := connect(b)
	_, second := connect(b)
	_, third := connect(b)
	ids := devices(b)
	for _, want := range []string{"TV &lt;b&gt;", "by Maker", "Read &lt;everything&gt;", "just now from 192.0.2.7"} {
		b.Sees(200, want)
	}
	if len(ids) != 3 {
		t.Fatalf("%d devices are shown", len(ids))
	}
	b.Submit("/device/connections", url.Values{"device": {ids[0]}})
	b.Sees(403, "out of date") // without the ticket
	b.Open("/device/connections")
	ticket := b.Ticket()
	b.Submit("/device/connections", url.Values{"ticket": {ticket}, "device": {ids[0]}})
	if left := devices(b); len(left) != 2 || admits(s, third) || !admits(s, first) || !admits(s, second) {
		t.Errorf("after one is cut off: %d are shown", len(left))
	}
	for device, status := range map[string]int{ids[0]: 200, "x": 403, strings.Repeat("A", 22): 404} {
		if b.Submit("/device/connections", url.Values{"ticket": {ticket}, "device": {device}}); b.Status != status {
			t.Errorf("device %q: %d, want %d", device, b.Status, status)
		}
	}
	s.Upstream.Person = &deviceauth.Person{Subject: "work|2", Upstream: "work", User: "bob",
		Claims: s.Upstream.Person.Claims}
	other := s.Browser()
	other.SignIn()
	_, bobs := connect(other)
	other.Open("/device/connections")
	other.Submit("/device/connections", url.Values{"ticket": {other.Ticket()}, "device": {ids[1]}})
	other.Sees(404, "not among the devices")
	b.Submit("/device/connections", url.Values{"ticket": {ticket}, "device": {"all"}})
	b.Sees(200, "No device is connected")
	if admits(s, first) || admits(s, second) || !admits(s, bobs) {
		t.Error("all of one person's devices, and nobody else's, are to be cut off")
	}
}
