package httpapi_test

import (
	"net/url"
	"strings"
	"testing"
)

// protocol 4
func TestPauseIsToldToDevicesAndPeople(t *testing.T) {
	b := newSite(t).browser()
	b.in()
	_, code := b.ask()
	ticket := b.ticket()
	if _, err := b.engine.Pause(t.Context(), "root", "a secret reason"); err != nil {
		t.Fatal(err)
	}
	w := b.post("/oauth2/device_authorization", form, "client_id=tv")
	if text := w.Body.String(); w.Header().Get("Retry-After") != "30" || !strings.Contains(text, "paused") || strings.Contains(text, "reason") {
		t.Errorf("Retry-After %q: %s", w.Header().Get("Retry-After"), text)
	}
	refuses(t, w, 503, "temporarily_unavailable")
	refuses(t, b.poll(code), 400, "authorization_pending")
	for _, visit := range []func(){
		func() { b.open("/device") },
		func() { b.open("/device?user_code=BBBB-BBBB") },
		func() { b.open("/device/confirm") },
		func() { b.submit("/device", url.Values{"user_code": {"BBBB-BBBB"}, "form": {"x"}}) },
		func() { b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}}) },
	} {
		visit()
		b.sees(503, "Connecting devices is paused")
		if b.header.Get("Retry-After") != "30" {
			t.Errorf("Retry-After %q", b.header.Get("Retry-After"))
		}
	}
	b.open("/device/connections")
	b.sees(200, "Your devices")
	b.submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"deny"}})
	b.sees(200, "was refused")
	refuses(t, b.poll(code), 400, "access_denied")
}
