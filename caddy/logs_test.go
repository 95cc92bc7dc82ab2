package main

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

// logFilter returns the filter that the documentation recommends, as it stands there.
func logFilter(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, filter, found := strings.Cut(string(text), "```caddyfile\nlog {")
	if !found {
		t.Fatal("docs/protocol.md has no log filter")
	}
	filter, _, _ = strings.Cut(filter, "```")
	return "log {" + filter
}

// protocol 45
func TestNoCodeAndNoTokenIsInAnyLog(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "default_bind", "debug\n\tdefault_bind", 1)
		return strings.Replace(s, "\tdevice_login\n\tdevice_auth /api",
			"\t"+logFilter(t)+"\n\tdevice_login\n\tdevice_auth /api", 1)
	})
	g.start()
	d := g.device()
	alice := newPerson(t, "alice")
	alice.allow(d)
	first := d.poll()
	if status, _ := g.api(first.Access); status != 200 {
		t.Fatalf("the API answers %d", status)
	}
	second := g.refresh(first.Refresh)
	g.revoke(second.Refresh)
	g.log.wait(t, `"uri":"/oauth2/revoke"`) // the access log
	log := g.log.String()
	issuer, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	cookies := alice.http.Jar.Cookies(issuer)
	if len(cookies) == 0 {
		t.Fatal("the person has no cookie")
	}
	for _, cookie := range cookies {
		if strings.Contains(log, cookie.Value) {
			t.Errorf("the cookie %s is in the log", cookie.Name)
		}
	}
	for name, secret := range map[string]string{
		"user code": d.User, "user code without its dash": strings.ReplaceAll(d.User, "-", ""), "device code": d.Code,
		"access token": first.Access, "refresh token": first.Refresh, "second refresh token": second.Refresh,
		"ID token": first.ID,
	} {
		if strings.Contains(log, secret) {
			t.Errorf("the %s is in the log:\n%s", name, log)
		}
	}
	if !strings.Contains(log, "user_code=REDACTED") || !strings.Contains(log, "code_redeemed") {
		t.Errorf("the log lacks what it should say:\n%s", log)
	}
}

// A stranger can be refused as often as they like, and does not fill the disk.
// What was counted is told at the latest when the configuration ends.
func TestRefusedRequestsAreAFewLines(t *testing.T) {
	t.Parallel()
	g := start(t)
	const n = 500
	for range n {
		var answer tokens
		if g.post("/oauth2/device_authorization", url.Values{"client_id": {"nobody"}},
			&answer); answer.Error != "invalid_client" {
			t.Fatalf("got %+v", answer)
		}
	}
	if out, err := g.run("reload", "--force", "--config", g.config, "--address", g.admin); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	g.log.wait(t, `"more":`)
	if lines := strings.Count(g.log.String(), "device_refused"); lines > 40 { // ten, one for each second, and the rest
		t.Errorf("%d lines", lines)
	}
	if counted := g.metric(`caddy_device_login_events_total{event="device_refused"}`); counted != fmt.Sprint(n) {
		t.Errorf("the metric says %q", counted)
	}
}
