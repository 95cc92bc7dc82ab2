package gateway_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 4
func TestPauseIsToldToDevicesAndPeople(t *testing.T) {
	b := gatewaytest.New(t).Browser()
	b.SignIn()
	_, code := b.Ask()
	ticket := b.Ticket()
	if _, err := b.Engine.Pause(t.Context(), "root", "a secret reason"); err != nil {
		t.Fatal(err)
	}
	w := b.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv")
	text := w.Body.String()
	if w.Header().Get("Retry-After") != "30" || !strings.Contains(text, "paused") || strings.Contains(text, "reason") {
		t.Errorf("Retry-After %q: %s", w.Header().Get("Retry-After"), text)
	}
	gatewaytest.Refused(t, w, 503, "temporarily_unavailable")
	gatewaytest.Refused(t, b.Poll(code), 400, "authorization_pending")
	for _, visit := range []func(){
		func() { b.Open("/device") },
		func() { b.Open("/device?user_code=BBBB-BBBB") },
		func() { b.Open("/device/confirm") },
		func() { b.Submit("/device", url.Values{"user_code": {"BBBB-BBBB"}, "form": {"x"}}) },
		func() { b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"allow"}}) },
	} {
		visit()
		b.Sees(503, "Connecting devices is paused")
		if b.Header.Get("Retry-After") != "30" {
			t.Errorf("Retry-After %q", b.Header.Get("Retry-After"))
		}
	}
	b.Open("/device/connections")
	b.Sees(200, "Your devices")
	b.Submit("/device/confirm", url.Values{"ticket": {ticket}, "answer": {"deny"}})
	b.Sees(200, "was refused")
	gatewaytest.Refused(t, b.Poll(code), 400, "access_denied")
}
