package httpapi_test

import (
	"maps"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// protocol 35
func TestCodeThatHasToBeTypedIsNotTakenFromALink(t *testing.T) {
	b := newSite(t, func(c *deviceauth.Config) { c.Clients[0].ManualEntry = true }).browser()
	b.in()
	v := says(t, b.post("/oauth2/device_authorization", form, "client_id=tv"))
	if v["verification_uri_complete"] != nil {
		t.Errorf("the device is given %v", v["verification_uri_complete"])
	}
	code := v["user_code"].(string)
	b.open("/device?user_code=" + code)
	for _, spelling := range []string{code, strings.ToLower(code), strings.ReplaceAll(code, "-", " ")} {
		b.open("/device?user_code=" + code)
		b.submit("/device", url.Values{"user_code": {spelling}})
		b.sees(403, "has to be typed")
		if strings.Contains(b.page, code) {
			t.Error("the code is filled in")
		}
	}
	// Two windows: the second changes the cookies under the first.
	b.open("/device?user_code=" + code)
	filled := b.codeForm()
	b.open("/device?user_code=")
	b.submit("/device", url.Values{"user_code": {code}, "form": {filled}})
	b.sees(403, "has to be typed")

	// A link with most of the code, with more than it, with letters that look
	// like its own: nothing is filled in.
	for _, part := range []string{code[:8], code + "!!BBBB", "\u0412" + code[1:], "12345678"} {
		b.open("/device?user_code=" + url.QueryEscape(part))
		b.sees(200, `name="user_code" class="code" value=""`)
	}
	// What was filled in is a link's, whatever was done to it since; a form of
	// another browser, or none, is a link too.
	b.open("/device?user_code=BBBB-BBBB")
	b.submit("/device", url.Values{"user_code": {code}})
	b.sees(403, "has to be typed")
	b.submit("/device", url.Values{"user_code": {code}, "form": {"x"}})
	b.sees(200, "continue if your device shows it")
	b.submit("/device", url.Values{"user_code": {code}})
	b.sees(403, "has to be typed")
	b.submit("/device", url.Values{"user_code": {code}, "form": {b.site.browser().codeForm()}})
	b.sees(200, `name="user_code" class="code" value=""`)
	b.submit("/device", url.Values{"user_code": {code}})
	b.sees(200, "Connect TV")
}

// A page that stood open for longer than its cookie lives asks for the code anew,
// and takes it for a typed one.
//
// protocol 35
func TestPageThatStoodOpenForLongAsksForTheCodeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, func(c *deviceauth.Config) { c.Clients[0].ManualEntry = true })
		b := s.browser()
		b.in()
		old := b.codeForm()
		time.Sleep(31 * time.Minute)
		delete(b.cookies, "__Secure-device_flow")
		code := says(t, b.post("/oauth2/device_authorization", form, "client_id=tv"))["user_code"].(string)
		b.submit("/device", url.Values{"user_code": {code}, "form": {old}})
		b.sees(200, "Enter the code once more")
		b.submit("/device", url.Values{"user_code": {code}})
		b.sees(200, "Connect TV")
	})
}

// protocol 35
func TestTwoTabsOpenedAtOnceTakeTypedCodes(t *testing.T) {
	s := newSite(t, func(c *deviceauth.Config) { c.Clients[0].ManualEntry = true })
	b, beside := s.browser(), s.browser() // before either has a cookie
	first := b.codeForm()
	beside.open("/device")
	maps.Copy(b.cookies, beside.cookies)
	b.in()
	code := says(t, b.post("/oauth2/device_authorization", form, "client_id=tv"))["user_code"].(string)
	b.submit("/device", url.Values{"user_code": {code}, "form": {first}})
	b.sees(200, "Enter the code once more")
	if strings.Contains(b.page, code) {
		t.Error("the code of a form that is not this browser's is filled in")
	}
	b.submit("/device", url.Values{"user_code": {code}})
	b.sees(200, "Connect TV")
}
