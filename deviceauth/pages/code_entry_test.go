package pages_test

import (
	"maps"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 35
func TestCodeThatHasToBeTypedIsNotTakenFromALink(t *testing.T) {
	b := gatewaytest.New(t, func(c *deviceauth.Config) { c.Clients[0].ManualEntry = true }).Browser()
	b.SignIn()
	v := gatewaytest.JSON(t, b.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv"))
	if v["verification_uri_complete"] != nil {
		t.Errorf("the device is given %v", v["verification_uri_complete"])
	}
	code := v["user_code"].(string)
	b.Open("/device?user_code=" + code)
	for _, spelling := range []string{code, strings.ToLower(code), strings.ReplaceAll(code, "-", " ")} {
		b.Open("/device?user_code=" + code)
		b.Submit("/device", url.Values{"user_code": {spelling}})
		b.Sees(403, "has to be typed")
		if strings.Contains(b.Page, code) {
			t.Error("the code is filled in")
		}
	}
	// Two windows: the second changes the cookies under the first.
	b.Open("/device?user_code=" + code)
	filled := b.CodeForm()
	b.Open("/device?user_code=")
	b.Submit("/device", url.Values{"user_code": {code}, "form": {filled}})
	b.Sees(403, "has to be typed")

	// A link with most of the code, with more than it, with letters that look
	// like its own: nothing is filled in.
	for _, part := range []string{code[:8], code + "!!BBBB", "\u0412" + code[1:], "12345678"} {
		b.Open("/device?user_code=" + url.QueryEscape(part))
		b.Sees(200, `name="user_code" class="code" value=""`)
	}
	// A code that was filled in came from a link, even if the user edits it; a form
	// without this browser's cookie counts as a link, too.
	b.Open("/device?user_code=BBBB-BBBB")
	b.Submit("/device", url.Values{"user_code": {code}})
	b.Sees(403, "has to be typed")
	b.Submit("/device", url.Values{"user_code": {code}, "form": {"x"}})
	b.Sees(200, "continue if your device shows it")
	b.Submit("/device", url.Values{"user_code": {code}})
	b.Sees(403, "has to be typed")
	b.Submit("/device", url.Values{"user_code": {code}, "form": {b.Site.Browser().CodeForm()}})
	b.Sees(200, `name="user_code" class="code" value=""`)
	b.Submit("/device", url.Values{"user_code": {code}})
	b.Sees(200, "Connect TV")
}

// A page that was open for longer than its cookie is valid asks for the code again,
// and then takes it for a typed one.
//
// protocol 35
func TestPageThatStoodOpenForLongAsksForTheCodeAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Clients[0].ManualEntry = true })
		b := s.Browser()
		b.SignIn()
		old := b.CodeForm()
		time.Sleep(31 * time.Minute)
		delete(b.Cookies, "__Secure-device_flow")
		code := gatewaytest.JSON(t, b.Post("/oauth2/device_authorization", gatewaytest.Form,
			"client_id=tv"))["user_code"].(string)
		b.Submit("/device", url.Values{"user_code": {code}, "form": {old}})
		b.Sees(200, "Enter the code once more")
		b.Submit("/device", url.Values{"user_code": {code}})
		b.Sees(200, "Connect TV")
	})
}

// protocol 35
func TestTwoTabsOpenedAtOnceTakeTypedCodes(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Clients[0].ManualEntry = true })
	b, beside := s.Browser(), s.Browser() // before either has a cookie
	first := b.CodeForm()
	beside.Open("/device")
	maps.Copy(b.Cookies, beside.Cookies)
	b.SignIn()
	code := gatewaytest.JSON(t, b.Post("/oauth2/device_authorization", gatewaytest.Form,
		"client_id=tv"))["user_code"].(string)
	b.Submit("/device", url.Values{"user_code": {code}, "form": {first}})
	b.Sees(200, "Enter the code once more")
	if strings.Contains(b.Page, code) {
		t.Error("the code of a form that is not this browser's is filled in")
	}
	b.Submit("/device", url.Values{"user_code": {code}})
	b.Sees(200, "Connect TV")
}
