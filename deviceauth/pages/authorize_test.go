package pages_test

import (
	"html"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// The verifier and the challenge of RFC 7636 appendix B.
const (
	verifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	loopback  = "http://127.0.0.1:49152/callback"
)

// authorizeRequest is the address of an authorization request; changes are name, value, …,
// and an empty value takes a parameter out.
func authorizeRequest(changes ...string) string {
	q := url.Values{
		"response_type": {"code"}, "client_id": {"cli"}, "redirect_uri": {loopback}, "state": {"a b&c"},
		"scope": {"openid read"}, "code_challenge": {challenge}, "code_challenge_method": {"S256"}, "nonce": {"n-1"},
	}
	for i := 0; i < len(changes); i += 2 {
		if q.Set(changes[i], changes[i+1]); changes[i+1] == "" {
			q.Del(changes[i])
		}
	}
	return "/oauth2/authorize?" + q.Encode()
}

var (
	refresh  = regexp.MustCompile(`<meta http-equiv="refresh" content="0; url=([^"]*)">`)
	backLink = regexp.MustCompile(`id="back" href="([^"]*)"`)
)

// ledTo is where the page that the browser sees leads, by itself or by its link.
func ledTo(b *gatewaytest.Browser, by *regexp.Regexp) *url.URL {
	b.Helper()
	found := by.FindStringSubmatch(b.Page)
	if found == nil {
		b.Fatalf("%d, and nothing leads back:\n%s", b.Status, b.Page)
	}
	to, err := url.Parse(html.UnescapeString(found[1]))
	if err != nil {
		b.Fatal(err)
	}
	return to
}

// answerProgram answers the question on the browser's page.
func answerProgram(b *gatewaytest.Browser, answer string) {
	b.Helper()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {answer}})
}

// exchange redeems a code; changes as in [authorizeRequest].
func exchange(s *gatewaytest.Site, code string, changes ...string) *httptest.ResponseRecorder {
	s.Helper()
	p := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {"cli"}, "code": {code},
		"redirect_uri": {loopback}, "code_verifier": {verifier},
	}
	for i := 0; i < len(changes); i += 2 {
		p.Set(changes[i], changes[i+1])
	}
	return s.Post("/oauth2/token", gatewaytest.Form, p.Encode())
}

// protocol 47, 48, 49
func TestProgramLogsInByTheBrowser(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.Open(authorizeRequest())
	b.Sees(200, "Sign in with Example &lt;Work&gt;")
	b.SignIn()
	b.Sees(200, "Connect Store CLI?")
	b.Sees(200, "A program on this computer asks to use your account.")
	b.Sees(200, "this computer (127.0.0.1:49152)")
	b.Sees(200, "Read &lt;everything&gt;")
	answerProgram(b, "allow")
	b.Sees(200, "Back to Store CLI")
	if policy := b.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self';") {
		t.Errorf("the page that leads back opens form-action: %s", policy)
	}
	to := ledTo(b, refresh)
	q := to.Query()
	if to.Host != "127.0.0.1:49152" || to.Path != "/callback" || q.Get("state") != "a b&c" ||
		q.Get("iss") != "https://api.example.com" || !strings.HasPrefix(q.Get("code"), "ac_") {
		t.Fatalf("leads to %s", to)
	}
	if link := ledTo(b, backLink); link.String() != to.String() {
		t.Errorf("the link leads to %s", link)
	}
	w := exchange(b.Site, q.Get("code"))
	v := gatewaytest.JSON(t, w)
	if w.Code != 200 || v["access_token"] == nil || v["id_token"] == nil || v["scope"] != "openid read" {
		t.Fatalf("%d %v", w.Code, v)
	}
	gatewaytest.Refused(t, exchange(b.Site, q.Get("code")), 400, "invalid_grant")
}

// Browsers open pages again: by the back button, after a crash, from a bookmark.
//
// protocol 48, 49
func TestPageLeadsBackByItselfOnlyOnce(t *testing.T) {
	s := gatewaytest.New(t)
	b, thief := s.Browser(), s.Browser()
	b.SignIn()
	b.Open(authorizeRequest())
	b.Request(gatewaytest.Post("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}}))
	address := b.Header.Get("Location")
	b.Open(address)
	ledTo(b, refresh)
	b.Open(address)
	if refresh.MatchString(b.Page) {
		t.Error("the page leads back by itself a second time")
	}
	ledTo(b, backLink)
	thief.SignIn()
	thief.Open(address)
	if strings.Contains(thief.Page, "127.0.0.1") {
		t.Error("another browser is led to the program")
	}
}

// protocol 48
func TestDenialGoesBackToTheProgram(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	for uri, host := range map[string]string{
		loopback: "127.0.0.1:49152", "https://app.example.com/cb?x=1": "app.example.com", "com.example.app:/cb": "",
	} {
		b.Open(authorizeRequest("redirect_uri", uri))
		answerProgram(b, "deny")
		to := ledTo(b, refresh)
		q := to.Query()
		if !strings.HasPrefix(to.String(), uri) || to.Host != host || q.Get("error") != "access_denied" ||
			q.Get("state") != "a b&c" || q.Get("iss") == "" || q.Has("code") {
			t.Errorf("%s: leads to %s", uri, to)
		}
	}
}

// protocol 47
func TestAuthorizationRequestWithoutAWayBackIsToldOnAPage(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	for name, c := range map[string]struct{ address, want string }{
		"nothing":        {"/oauth2/authorize", "This program is not known here"},
		"unknown client": {authorizeRequest("client_id", "x"), "This program is not known here"},
		"no redirect":    {authorizeRequest("redirect_uri", ""), "The way back is not known here"},
		"another redirect": {authorizeRequest("redirect_uri", "https://evil.example/"),
			"The way back is not known here"},
		"a device": {authorizeRequest("client_id", "tv"), "The way back is not known here"},
		"two redirects": {authorizeRequest() + "&redirect_uri=https%3A%2F%2Fevil.example",
			"The way back is not known here"},
		"two clients": {authorizeRequest() + "&client_id=tv", "The way back is not known here"},
		"and another error": {authorizeRequest("redirect_uri", "https://evil.example/", "response_type", "token"),
			"The way back"},
	} {
		b.Open(c.address)
		b.Sees(400, c.want)
		if b.Header.Get("Location") != "" || strings.Contains(b.Page, "evil") {
			t.Errorf("%s: leads to %q:\n%s", name, b.Header.Get("Location"), b.Page)
		}
	}
}

// protocol 47
func TestOtherMistakesOfAuthorizationRequestsGoBack(t *testing.T) {
	s := gatewaytest.New(t)
	signedIn := s.Browser()
	signedIn.SignIn()
	for name, c := range map[string]struct {
		b             *gatewaytest.Browser
		address, want string
	}{
		"token": {s.Browser(), authorizeRequest("response_type", "token"), "unsupported_response_type"},
		"hybrid": {s.Browser(), authorizeRequest("response_type", "code id_token"),
			"unsupported_response_type"},
		"no response type":  {s.Browser(), authorizeRequest("response_type", ""), "invalid_request"},
		"no challenge":      {s.Browser(), authorizeRequest("code_challenge", ""), "invalid_request"},
		"plain":             {s.Browser(), authorizeRequest("code_challenge_method", "plain"), "invalid_request"},
		"fragment":          {s.Browser(), authorizeRequest("response_mode", "fragment"), "invalid_request"},
		"another scope":     {s.Browser(), authorizeRequest("scope", "write"), "invalid_scope"},
		"another audience":  {s.Browser(), authorizeRequest("resource", "https://x.example"), "invalid_target"},
		"state twice":       {s.Browser(), authorizeRequest() + "&state=x", "invalid_request"},
		"none, signed out":  {s.Browser(), authorizeRequest("prompt", "none"), "login_required"},
		"none, signed in":   {signedIn, authorizeRequest("prompt", "none"), "consent_required"},
		"none beside login": {signedIn, authorizeRequest("prompt", "none login"), "invalid_request"},
	} {
		c.b.Request(httptest.NewRequest("GET", c.address, nil))
		to, err := url.Parse(c.b.Header.Get("Location"))
		q := to.Query()
		if c.b.Status != 303 || err != nil || to.Host != "127.0.0.1:49152" || q.Get("error") != c.want ||
			q.Get("error_description") == "" || q.Get("state") != "a b&c" || q.Get("iss") != "https://api.example.com" {
			t.Errorf("%s: %d to %s, want %s", name, c.b.Status, to, c.want)
		}
	}
}

// protocol 48
func TestPromptIsKept(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Open(authorizeRequest("prompt", "login"))
	b.Sees(200, "Store CLI can be connected only after a new sign-in.")
	link := regexp.MustCompile(`href="(/device/sign-in[^"]*)"`).FindStringSubmatch(b.Page)
	if link == nil {
		t.Fatal(b.Page)
	}
	b.Open(html.UnescapeString(link[1]))
	if !b.Upstream.Begun.FreshSignIn {
		t.Errorf("began with %+v", b.Upstream.Begun)
	}
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(200, "Connect Store CLI?")
	b.Open(authorizeRequest("prompt", "login"))
	b.Sees(200, "only after a new sign-in") // each request asks for a new one
	b.Open(authorizeRequest("prompt", "select_account"))
	b.Sees(200, "Sign in with")
	b.Open("/device/sign-in?with=work&switch=1")
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(200, "Connect Store CLI?")
	out := gatewaytest.New(t).Browser()
	out.Open(authorizeRequest("prompt", "login"))
	out.Sees(200, "only after a new sign-in")
}

// OpenID Connect Core §3.1.2.1: who signed in too long ago signs in anew.
//
// protocol 48
func TestMaxAgeAsksForANewSignIn(t *testing.T) {
	s := gatewaytest.New(t)
	for _, test := range []struct {
		ago          time.Duration
		maxAge, want string
	}{
		{time.Minute, "3600", "Connect Store CLI?"},
		{time.Minute, "30", "only after a new sign-in"},
		{time.Minute, "0", "only after a new sign-in"},
	} {
		s.Upstream.Person.AuthTime = time.Now().Add(-test.ago)
		b := s.Browser()
		b.SignIn()
		b.Open(authorizeRequest("max_age", test.maxAge))
		b.Sees(200, test.want)
	}
	b := s.Browser()
	b.Open(authorizeRequest("max_age", "0")) // nobody is signed in
	b.Sees(200, "only after a new sign-in")
	s.Upstream.Person.AuthTime = time.Time{} // an upstream that does not tell, as some do
	b.SignIn()
	b.Open(authorizeRequest("max_age", "3600"))
	b.Sees(200, "Connect Store CLI?")
	for _, wrong := range []string{"-1", "x", "1.5", "99999999999999999999"} {
		b.Request(httptest.NewRequest("GET", authorizeRequest("max_age", wrong), nil))
		if to := b.Header.Get("Location"); !strings.Contains(to, "error=invalid_request") {
			t.Errorf("max_age %q leads to %q", wrong, to)
		}
	}
	b.Request(httptest.NewRequest("GET", authorizeRequest("max_age", "0", "prompt", "none"), nil))
	if to := b.Header.Get("Location"); !strings.Contains(to, "error=login_required") {
		t.Errorf("prompt none leads to %q", to)
	}
}

// RFC 9700 §4.7: a page of another site cannot decide, nor a form of another session.
//
// protocol 38, 48
func TestAnswerToAProgramNeedsTheTicketOfThisSession(t *testing.T) {
	s := gatewaytest.New(t)
	b, other := s.Browser(), s.Browser()
	b.SignIn()
	other.SignIn()
	b.Open(authorizeRequest())
	ticket := b.Ticket()
	other.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	other.Sees(403, "out of date")
	r := gatewaytest.Post("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}})
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	b.Request(r)
	b.Sees(403, "sent from another site")
	b.Request(httptest.NewRequest("GET", "/device/confirm?answer=allow&ticket="+ticket, nil))
	if b.Header.Get("Location") != "" || refresh.MatchString(b.Page) {
		t.Error("a GET decides")
	}
	for _, address := range []string{authorizeRequest(), "/device/return?of=x"} { // RFC 9700 §4.16
		r = httptest.NewRequest("GET", address, nil)
		r.Header.Set("Sec-Fetch-Dest", "iframe")
		b.Request(r)
		b.Sees(403, "")
	}
}

// protocol 39, 48
func TestAnswerIsToTheProgramThatThePageShowed(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Open(authorizeRequest("state", "one"))
	first := b.Ticket()
	b.Open(authorizeRequest("state", "two", "redirect_uri", "https://app.example.com/cb?x=1")) // another tab
	b.Sees(200, "The answer goes to another site")
	b.Submit("/device/confirm", url.Values{"ticket": {first}, "answer": {"allow"}})
	if to := ledTo(b, refresh); to.Query().Get("state") != "one" || to.Host != "127.0.0.1:49152" {
		t.Errorf("leads to %s", to)
	}
	// A second click is harmless: its page has a code in the place of the first.
	b.Submit("/device/confirm", url.Values{"ticket": {first}, "answer": {"allow"}})
	again := ledTo(b, refresh).Query()
	if w := exchange(b.Site, again.Get("code")); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, answer := range []string{"allow", "deny"} {
		b.Submit("/device/confirm", url.Values{"ticket": {first}, "answer": {answer}})
		b.Sees(409, "has been answered")
	}
}

// Two programs that begin at once have one cookie, and each its own question.
//
// protocol 39, 48
func TestProgramsThatBeginAtOnceAreBothAnswered(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.Open("/device")
	var questions []string
	for _, state := range []string{"one", "two"} {
		b.Request(httptest.NewRequest("GET", authorizeRequest("state", state), nil))
		questions = append(questions, b.Header.Get("Location"))
	}
	b.Open(questions[0]) // which leads to the sign-in
	link := regexp.MustCompile(`(?:href="|url=)(/device/sign-in\?[^"]*)"`).FindStringSubmatch(b.Page)
	if link == nil {
		t.Fatal(b.Page)
	}
	b.Open(html.UnescapeString(link[1]))
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	for i, state := range []string{"one", "two"} {
		if i > 0 {
			b.Open(questions[i])
		}
		answerProgram(b, "allow")
		if to := ledTo(b, refresh); to.Query().Get("state") != state {
			t.Errorf("leads to %s, want the state %s", to, state)
		}
	}
}

// protocol 38, 48
func TestNoIsKept(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Open(authorizeRequest())
	ticket := b.Ticket()
	answerProgram(b, "deny")
	if ledTo(b, refresh).Query().Get("error") != "access_denied" {
		t.Error("the program does not hear the no")
	}
	for _, answer := range []string{"allow", "deny"} {
		b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {answer}})
		b.Sees(409, "has been answered")
	}
}

// protocol 3, 47
func TestParametersOfAuthorizationRequests(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Open(authorizeRequest() + "&resource=&audience=&prompt=&request=") // as good as none
	b.Sees(200, "Connect Store CLI?")
	for query, code := range map[string]string{
		"&request=x": "request_not_supported", "&request_uri=x": "request_uri_not_supported",
		"&x=%00": "invalid_request", "&x=%FF": "invalid_request",
	} {
		b.Request(httptest.NewRequest("GET", authorizeRequest()+query, nil))
		if to := b.Header.Get("Location"); !strings.Contains(to, "error="+code) {
			t.Errorf("%s: leads to %s, want %s", query, to, code)
		}
	}
	b.Open(authorizeRequest("prompt", strings.Repeat("x ", 10_000)))
	size := 0
	for _, value := range b.Cookies {
		size += len(value)
	}
	if size > 3000 {
		t.Errorf("%d bytes of cookies", size)
	}
}

// protocol 47
func TestAuthorizationRequestByPostGoesOnByGet(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	query := strings.TrimPrefix(authorizeRequest(), "/oauth2/authorize?")
	r := httptest.NewRequest("POST", "/oauth2/authorize", strings.NewReader(query))
	r.Header.Set("Content-Type", gatewaytest.Form)
	b.Request(r)
	b.Open(b.Header.Get("Location"))
	b.Sees(200, "Connect Store CLI?")
}

// protocol 44, 48
func TestAnotherAccountGoesOnWithTheProgram(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	b.Open(authorizeRequest())
	b.Submit("/device/sign-out", url.Values{"ticket": {b.Ticket()}, "then": {"switch"}})
	b.Sees(200, "Sign in with")
	b.Open("/device/sign-in?with=work&switch=1")
	b.Open("/device/callback?code=c&state=" + b.Upstream.Begun.State)
	b.Sees(200, "Connect Store CLI?")
}
