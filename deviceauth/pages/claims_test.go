package pages_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 33, 37
func TestPersonWithAnUncleanNameIsNotSignedIn(t *testing.T) {
	var events []deviceauth.Event
	s := gatewaytest.New(t, func(c *deviceauth.Config) {
		c.Events = func(e deviceauth.Event) { events = append(events, e) }
	})
	s.Upstream.Person = &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice\u200b"}
	b := s.Browser()
	b.SignIn()
	b.Sees(http.StatusForbidden, "has a character that cannot be seen")
	want := deviceauth.Event{Name: deviceauth.EventSignInRefused, Upstream: "work", Reason: "sign_in_unclean",
		From: netip.MustParseAddr("192.0.2.7")}
	if len(events) != 1 || events[0] != want {
		t.Errorf("audit: %+v", events)
	}
	b.Open("/device/connections")
	if b.Status == http.StatusOK && !strings.Contains(b.Page, "/device/sign-in") {
		t.Errorf("there is a session: %d %s", b.Status, b.Page)
	}
}

func TestEverySignInThatIsRefusedIsAnEvent(t *testing.T) {
	var events []deviceauth.Event
	s := gatewaytest.New(t, func(c *deviceauth.Config) {
		c.Events = func(e deviceauth.Event) { events = append(events, e) }
	})
	b := s.Browser()
	b.Open("/device/sign-in?with=work")
	b.Open("/device/callback?error=access_denied&state=" + s.Upstream.Begun.State)
	if len(events) != 1 || events[0].Name != deviceauth.EventSignInRefused || events[0].Reason != "sign_in_cancelled" {
		t.Errorf("audit: %+v", events)
	}
	b.Open("/device/callback?error=access_denied&state=forged")
	if len(events) != 1 {
		t.Errorf("a callback to no sign-in is one: %+v", events)
	}
}

// protocol 33
func TestGroupThatWouldBeTwoIsLeftOut(t *testing.T) {
	s := gatewaytest.New(t)
	var log bytes.Buffer
	s.Reconfigure(func(c *gateway.HandlerConfig) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	s.Upstream.Person.Claims = deviceauth.Claims{"groups": []any{"staff", "x,admins", "admins\u200b"}}
	token := s.AccessToken()
	tokenGuard := guard.New(guard.Options{}, s.Engine)
	for range 3 {
		r := gatewaytest.APIRequest("Authorization", "Bearer "+token)
		id, _, err := tokenGuard.Authenticate(r, "")
		if err != nil {
			t.Fatal(err)
		}
		tokenGuard.SetIdentityHeaders(r, id)
		if groups := r.Header.Get("Remote-Groups"); groups != "staff" {
			t.Errorf("the backend is told %q", groups)
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines != 1 || !strings.Contains(log.String(), "claims=[groups]") {
		t.Errorf("logged %d lines, want one that names the claim:\n%s", lines, log.String())
	}
}
