package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
)

// audited returns the last line of the audit log about an event, when it is there.
func (g *gateway) audited(event string) map[string]any {
	g.t.Helper()
	g.log.wait(g.t, `"msg":"`+event+`"`)
	var found map[string]any
	for lines := bufio.NewScanner(strings.NewReader(g.log.String())); lines.Scan(); {
		var line map[string]any
		if json.Unmarshal(lines.Bytes(), &line) == nil && line["msg"] == event {
			found = line
		}
	}
	return found
}

// has wants members of a line of the audit log.
func has(t *testing.T, line map[string]any, wants map[string]any) {
	t.Helper()
	for name, want := range wants {
		if line[name] != want {
			t.Errorf("%v: %s is %v, want %v", line["msg"], name, line[name], want)
		}
	}
}

// Where the devices and the browsers of these tests are.
const home, away, street = "192.0.2.7", "198.51.100.9", "203.0.113.3"

// ownersAlone is a gateway whose devices the owners of devices may allow, behind a
// proxy that says from where somebody asks.
func ownersAlone(t *testing.T) *gateway {
	g := newGateway(t)
	g.configure(func(s string) string {
		rule := "name \"Cool Gadget\"\n\t\t\tallow groups device-owners"
		return behindProxy("")(strings.Replace(s, "name \"Cool Gadget\"", rule, 1))
	})
	g.start()
	return g
}

// atHome is a device that asks from there.
func (g *gateway) atHome() *device {
	g.t.Helper()
	d, status := g.asksFrom(home, http.Header{})
	if status != http.StatusOK {
		g.t.Fatalf("a device is answered %d", status)
	}
	return d
}

// Who decided, and from where, is in the audit log, so that an operator finds it there
// a month later.
func TestAuditSaysWhoDecidedFromWhere(t *testing.T) {
	t.Parallel()
	g := ownersAlone(t)
	alice := newPerson(t, "alice")
	alice.header = http.Header{"X-Forwarded-For": {away}}
	d := g.atHome()
	alice.reach(d)
	alice.submit("/device/confirm", "answer", "allow", "started", "me", "checked", "yes")
	alice.sees("is connected")
	token := d.poll()
	has(t, g.audited("device_approved"), map[string]any{
		"logger": "device_login.audit.device_approved", "device_ip": home, "ip": away, "user": "alice",
		"client_id": "cool-gadget",
	})
	alice.deny(g.atHome())
	has(t, g.audited("device_denied"), map[string]any{
		"logger": "device_login.audit.device_denied", "device_ip": home, "ip": away,
	})
	if token = g.refresh(token.Refresh); token.Status != http.StatusOK {
		t.Fatalf("the refresh: %+v", token)
	}
	alice.open(g.url + "/device/connections")
	alice.submit("/device/connections", "device", g.grants("state=connected")[0].ID)
	has(t, g.audited("grant_revoked"), map[string]any{"ip": away, "reason": "revoked"})
	counted := g.metric(`caddy_device_login_events_total{event="token_refreshed"}`)
	if counted != "1" || strings.Contains(g.log.String(), "token_refreshed") {
		t.Errorf("the metric is %q, or a refresh is in the log at info level", counted)
	}
}

// By which rule somebody was kept out, and which claims are known of them.
func TestAuditSaysByWhichRule(t *testing.T) {
	t.Parallel()
	g := ownersAlone(t)
	bob, d := newPerson(t, "bob"), g.atHome()
	bob.header = http.Header{"X-Forwarded-For": {street}}
	bob.open(d.Full)
	bob.submit("/device", "user_code", d.User)
	bob.submit("/login", "user", "bob")
	barred := g.audited("person_barred")
	has(t, barred, map[string]any{
		"client_id": "cool-gadget", "rule": "client cool-gadget: allow groups device-owners", "user": "bob",
		"ip": street, "device_ip": home,
	})
	claims, _ := barred["claims"].([]any)
	known := slices.Contains(claims, any("groups")) && slices.Contains(claims, any("email"))
	if !known || strings.Contains(g.log.String(), "bob@example.com") {
		t.Errorf("the claims are %v, or a value is in the log", claims)
	}
}

// What is kept of a person is shown to an operator who asks for it.
func TestGrantIsShownWithItsClaims(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.connect("alice")
	id := g.grants("state=connected")[0].ID
	shown, err := g.auth("grants", "show", "--", id)
	if err != nil || strings.Contains(shown, "device-owners") {
		t.Errorf("without --claims: %v\n%s", err, shown)
	}
	shown, err = g.auth("grants", "show", "--claims", "--", id)
	if err != nil || !strings.Contains(shown, `["device-owners","staff"]`) || !strings.Contains(shown, "claim groups") {
		t.Errorf("with --claims: %v\n%s", err, shown)
	}
	if status, text := g.ask("GET", "grants/"+id+"?claims=some", ""); status != http.StatusBadRequest {
		t.Errorf("of some: %d %s", status, text)
	}
}

// The client id that a device came with, of which nothing is known, is in the log, and
// neither fills it nor breaks its lines.
func TestAuditSaysWhichClientWasTried(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, tried := range []string{"old-gadget", "a\u202e\u0085c\u200b", strings.Repeat("x", 5000)} {
		var answer tokens
		g.post("/oauth2/device_authorization", url.Values{"client_id": {tried}}, &answer)
		want := strings.NewReplacer("\u202e", "", "\u0085", "", "\u200b", "").Replace(tried)
		want = want[:min(len(want), 100)]
		g.log.wait(t, `"tried_client_id":"`+want+`"`)
	}
}

// An operator takes single events out of a log, or puts them into one of their own, by
// the name of their logger; who took the audit log as a whole still does.
func TestEventsAreFilteredByLogger(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		file := func(name, which string) string {
			return "\tlog " + name + " {\n\t\toutput file " + g.dir + "/" + name + ".log\n\t\t" + which +
				"\n\t\tlevel DEBUG\n\t}\n"
		}
		logs := file("whole", "include device_login.audit") + file("some", "exclude device_login.audit.code_redeemed") +
			file("one", "include device_login.audit.code_redeemed")
		return strings.Replace(s, "\tdefault_bind", logs+"\tdefault_bind", 1)
	})
	g.start()
	g.refresh(g.connect("alice").Refresh)
	for name, wants := range map[string]map[string]bool{
		"whole": {"device_approved": true, "code_redeemed": true, "token_refreshed": true},
		"some":  {"device_approved": true, "code_redeemed": false, "token_refreshed": true},
		"one":   {"device_approved": false, "code_redeemed": true, "token_refreshed": false},
	} {
		text, err := os.ReadFile(g.dir + "/" + name + ".log")
		if err != nil {
			t.Fatal(err)
		}
		if name == "whole" {
			line := text[bytes.LastIndex(bytes.TrimSpace(text), []byte("\n"))+1:]
			t.Logf("a refresh is a line of %d bytes", len(line))
		}
		for event, want := range wants {
			if strings.Contains(string(text), `"logger":"device_login.audit.`+event+`"`) != want {
				t.Errorf("in %s.log: %s: %v, want %v:\n%s", name, event, !want, want, text)
			}
		}
	}
}
