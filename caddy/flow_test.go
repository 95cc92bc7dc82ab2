package main

import (
	"net/http"
	"strings"
	"testing"
)

// protocol 8, 19, 29
func TestDeviceIsAllowedAndTheAPIAnswers(t *testing.T) {
	t.Parallel()
	g := start(t)
	if status, _ := g.api(""); status != http.StatusUnauthorized {
		t.Errorf("without a token: status %d", status)
	}
	d := g.device()
	newPerson(t, "alice").allow(d)
	answer := d.poll()
	if answer.Status != http.StatusOK || answer.Access == "" || answer.Refresh == "" || answer.ID == "" {
		t.Fatalf("got %+v", answer)
	}
	status, body := g.api(answer.Access)
	for _, want := range []string{`"Remote-User": "alice"`, `"Remote-Email": "alice@example.com"`,
		`"Remote-Groups": "device-owners,staff"`, `"Remote-Client": "cool-gadget"`, `"Authorization": ""`} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("status %d, want 200 and %s in:\n%s", status, want, body)
		}
	}
}

// protocol 14, 38
func TestDenialReachesTheDevice(t *testing.T) {
	t.Parallel()
	g := start(t)
	d := g.device()
	newPerson(t, "bob").deny(d)
	for range 3 { // and does so again, for a device that lost the answer
		if answer := d.poll(); answer.Status != http.StatusBadRequest || answer.Error != "access_denied" {
			t.Errorf("got %+v, want access_denied", answer)
		}
	}
}

// protocol 24
func TestRevokedDeviceIsOutAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t)
	d := g.device()
	newPerson(t, "alice").allow(d)
	answer := d.poll()
	if status := g.revoke(answer.Refresh); status != http.StatusOK {
		t.Fatalf("the revocation is answered %d", status)
	}
	if status, _ := g.api(answer.Access); status != http.StatusUnauthorized {
		t.Errorf("after the revocation the API answers %d", status)
	}
}
