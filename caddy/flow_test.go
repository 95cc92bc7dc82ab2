package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"
)

// protocol 8, 19, 29
func TestDeviceIsAllowedAndTheAPIAnswers(t *testing.T) {
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
	for _, want := range []string{`"Remote-User": "alice"`, `"Remote-Email": "alice@example.com"`, `"Remote-Groups": "device-owners,staff"`, `"Remote-Client": "cool-gadget"`, `"Authorization": ""`} {
		if status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("status %d, want 200 and %s in:\n%s", status, want, body)
		}
	}
}

// protocol 14, 38
func TestDenialReachesTheDevice(t *testing.T) {
	g := start(t)
	d := g.device()
	newPerson(t, "bob").deny(d)
	for range 3 { // and does so again, for a device that lost the answer
		if answer := d.poll(); answer.Status != http.StatusBadRequest || answer.Error != "access_denied" {
			t.Errorf("got %+v, want access_denied", answer)
		}
	}
}

// protocol 6, 13, 16: the device flow of golang.org/x/oauth2 as it comes.
func TestStockClientPasses(t *testing.T) {
	g := start(t)
	config := &oauth2.Config{
		ClientID: "cool-gadget", Scopes: []string{"openid", "offline_access", "products:read"},
		Endpoint: oauth2.Endpoint{DeviceAuthURL: g.url + "/oauth2/device_authorization", TokenURL: g.url + "/oauth2/token"},
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	code, err := config.DeviceAuth(ctx)
	if err != nil {
		t.Fatal(err)
	}
	decided := make(chan time.Time, 1)
	go func() {
		newPerson(t, "alice").allow(&device{User: code.UserCode, Full: code.VerificationURIComplete})
		decided <- time.Now()
	}()
	token, err := config.DeviceAccessToken(ctx, code)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("signed in %v after the person's last page", time.Since(<-decided).Round(time.Millisecond))
	if status, _ := g.api(token.AccessToken); status != http.StatusOK {
		t.Errorf("the API answers %d", status)
	}
	stale := *token
	stale.Expiry = time.Now().Add(-time.Minute)
	fresh, err := config.TokenSource(ctx, &stale).Token()
	if err != nil || fresh.AccessToken == token.AccessToken || fresh.RefreshToken == token.RefreshToken {
		t.Fatalf("refresh: %v, %v", fresh, err)
	}
	if status, _ := g.api(fresh.AccessToken); status != http.StatusOK {
		t.Errorf("after the refresh the API answers %d", status)
	}
}

// protocol 24
func TestRevokedDeviceIsOutAtOnce(t *testing.T) {
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
