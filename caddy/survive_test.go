package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	pending := g.device()
	pending.untilWritten()
	justAsked := g.device()
	g.kill()
	g.start()
	justAsked.isPendingOrStartsAgain()
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

// untilWritten waits until the store has the device's grant, some milliseconds after the
// device has its code: until then the log of the store does not have the code.
func (d *device) untilWritten() {
	d.t.Helper()
	code := []byte(strings.ReplaceAll(d.User, "-", ""))
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		logs, _ := filepath.Glob(filepath.Join(d.g.storeDir(), "*.mem"))
		for _, log := range logs {
			if text, err := os.ReadFile(log); err == nil && bytes.Contains(text, code) {
				return
			}
		}
		if time.Now().After(end) {
			d.t.Fatal("the store does not write the new grant")
		}
	}
}

// isPendingOrStartsAgain is what a device sees whose server was killed within milliseconds
// after it had a code: the code is pending, or of no use, and then there is another one.
func (d *device) isPendingOrStartsAgain() {
	d.t.Helper()
	switch answer := d.poll(); answer.Error {
	case "authorization_pending":
	case "invalid_grant":
		d.g.device().pending("a device that starts again")
	default:
		d.t.Errorf("a code of the last milliseconds: %+v", answer)
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
	http.DefaultClient.CloseIdleConnections() // the poll was on one of the server that goes
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

// A stop writes what is in memory only, also while devices ask for codes: each code that
// was given is pending after the next start.
func TestStopKeepsEveryCodeThatWasGiven(t *testing.T) {
	t.Parallel()
	g := startWith(t, "wait off\n\t\tpending address 100000")
	const devices, enough = 8, 200
	var given [devices][]*device
	var count atomic.Int64
	ready := make(chan struct{})
	var all sync.WaitGroup
	for i := range devices {
		all.Go(func() {
			for {
				d := &device{t: t, g: g, client: "cool-gadget"}
				form := url.Values{"client_id": {d.client}}
				response, err := http.PostForm(g.url+"/oauth2/device_authorization", form)
				if err != nil {
					return // the server has ended
				}
				err = json.NewDecoder(response.Body).Decode(d)
				response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK {
					return
				}
				given[i] = append(given[i], d)
				if count.Add(1) == enough {
					close(ready)
				}
			}
		})
	}
	<-ready
	g.ends(stopTime)
	all.Wait()
	g.start()
	for _, d := range slices.Concat(given[:]...) {
		if answer := d.poll(); answer.Error != "authorization_pending" {
			t.Fatalf("a code that was given before the stop: %+v", answer)
		}
	}
	t.Logf("%d codes were given", count.Load())
}
