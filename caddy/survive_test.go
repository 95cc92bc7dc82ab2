package main

import (
	"net/http"
	"strings"
	"testing"
)

func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	pending := g.device()
	g.kill()
	g.start()
	newPerson(t, "alice").allow(pending)
	given := pending.poll()
	if given.Status != http.StatusOK {
		t.Fatalf("the grant that was pending when the server was killed: %+v", given)
	}
	g.kill()
	g.start()
	if status, _ := g.api(given.Access); status != http.StatusOK {
		t.Errorf("a token given before the kill: status %d", status)
	}
	if again := pending.poll(); again.Error != "invalid_grant" {
		t.Errorf("the code redeemed before the kill: %+v, want invalid_grant", again)
	}
	if next := g.refresh(given.Refresh); next.Status != http.StatusOK {
		t.Errorf("a refresh token given before the kill: %+v", next)
	}
}

func TestReloadInMidFlowLosesNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	alice, d := newPerson(t, "alice"), g.device()
	alice.reach(d)
	held := make(chan tokens)
	go func() { held <- d.poll() }()
	g.configure(func(s string) string { return strings.Replace(s, `"Example Store"`, `"Another Store"`, 1) })
	if out, err := g.reload(); err != nil {
		t.Fatalf("reload: %v\n%s", err, out)
	}
	answer := <-held // ended by the reload, or held until it had to be answered
	if answer.Error != "authorization_pending" {
		t.Errorf("the poll across the reload: %+v", answer)
	}
	alice.submit("/device/confirm", "answer", "allow")
	alice.sees("is connected")
	if !strings.Contains(alice.page, "Another Store") {
		t.Error("the new configuration is not served")
	}
	if answer := d.poll(); answer.Status != http.StatusOK {
		t.Errorf("the poll after the reload: %+v", answer)
	}
}

func TestFailedReloadLeavesEverythingWorking(t *testing.T) {
	t.Parallel()
	g := start(t)
	d := g.device()
	for name, change := range map[string]func(string) string{
		"a config that is refused": func(s string) string {
			return strings.Replace(s, "issuer "+g.url, "issuer http://example.com", 1)
		},
		"a config whose store cannot be opened": func(s string) string {
			return strings.Replace(s, "issuer "+g.url, "issuer "+g.url+"\n\t\tstore badger /dev/null/grants", 1)
		},
		"a config whose site cannot listen": func(s string) string {
			return s + "\nhttp://127.0.0.1:1 {\n\tbind 203.0.113.1\n\tdevice_login\n}\n"
		},
	} {
		g.configure(change)
		if out, err := g.reload(); err == nil {
			t.Errorf("%s was loaded:\n%s", name, out)
		}
	}
	newPerson(t, "alice").allow(d)
	answer := d.poll()
	if status, _ := g.api(answer.Access); answer.Status != http.StatusOK || status != http.StatusOK {
		t.Errorf("after failed reloads: token %+v, API %d", answer, status)
	}
}

func TestValidateWorksBesideTheRunningServer(t *testing.T) {
	t.Parallel()
	g := start(t)
	if out, err := g.run("validate", "--config", g.config); err != nil ||
		!strings.Contains(out, "Valid configuration") {
		t.Errorf("%v\n%s", err, out)
	}
	d := g.device()
	newPerson(t, "alice").allow(d)
	if answer := d.poll(); answer.Status != http.StatusOK {
		t.Errorf("after validate: %+v", answer)
	}
}
