package main

import (
	"context"
	"net/http"
	"strings"
	"sync"
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

// protocol 17
func TestOfManyPollsOneGetsTheTokens(t *testing.T) {
	g := start(t)
	alice := newPerson(t, "alice")
	for range 5 {
		d := g.device()
		alice.allow(d)
		const polls = 64
		answers := make([]tokens, polls)
		var wg sync.WaitGroup
		gate := make(chan struct{})
		for i := range polls {
			wg.Go(func() { <-gate; answers[i] = d.poll() })
		}
		close(gate)
		wg.Wait()
		won, refused := 0, 0
		for _, answer := range answers {
			switch {
			case answer.Status == http.StatusOK && answer.Access != "":
				won++
			case answer.Status == http.StatusBadRequest && answer.Error == "invalid_grant":
				refused++
			}
		}
		if won != 1 || refused != polls-1 {
			t.Errorf("%d polls got tokens and %d invalid_grant, want 1 and %d", won, refused, polls-1)
		}
	}
}

// protocol 21
func TestOfManyRefreshesAllGetTheSameSuccessor(t *testing.T) {
	g := start(t)
	d := g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll().Refresh
	const refreshes = 32
	answers := make([]tokens, refreshes)
	var wg sync.WaitGroup
	for i := range refreshes {
		wg.Go(func() { answers[i] = g.refresh(token) })
	}
	wg.Wait()
	for _, answer := range answers {
		if answer.Status != http.StatusOK || answer.Refresh != answers[0].Refresh || answer.Refresh == token {
			t.Fatalf("got %+v, want 200 and the successor %q", answer, answers[0].Refresh)
		}
	}
	if status, _ := g.api(answers[refreshes-1].Access); status != http.StatusOK {
		t.Errorf("after the refreshes the API answers %d", status)
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
	response, err := http.PostForm(g.url+"/oauth2/revoke", map[string][]string{"client_id": {"cool-gadget"}, "token": {answer.Refresh}})
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response, err)
	}
	response.Body.Close()
	if status, _ := g.api(answer.Access); status != http.StatusUnauthorized {
		t.Errorf("after the revocation the API answers %d", status)
	}
}
