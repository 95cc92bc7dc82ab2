package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// keySet is the JWKS that a gateway shows.
func (g *gateway) keySet() string {
	g.t.Helper()
	response, body := g.request("GET", "/oauth2/jwks", http.Header{})
	if response.StatusCode != http.StatusOK || !json.Valid([]byte(body)) {
		g.t.Fatalf("the keys: %d %s", response.StatusCode, body)
	}
	return body
}

// A Redis that was emptied costs the devices that it knew, and no gateway: they
// write the keys back that they know, and serve on together.
//
// protocol 27
func TestRedisThatIsEmptiedEndsNoGateway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	all := startCluster(t, 2, "store redis "+server.URL())
	first, second := all[0], all[1]
	before := first.keySet()
	_, old := connectedAs(t, first, "alice")
	server.Empty()
	rotate(t, all...)
	if !strings.Contains(first.log.String()+second.log.String(),
		"the store has lost the signing keys; they were written back") {
		t.Errorf("nobody is told:\n%s", first.log)
	}
	kid := before[strings.Index(before, `"kid"`):]
	kid = kid[:strings.Index(kid, `"}`)]
	for _, g := range all {
		if !strings.Contains(g.keySet(), kid) {
			t.Errorf("the key is another one: %s, and it was %s", g.keySet(), before)
		}
		if status, _ := g.api(old.Access); status != http.StatusUnauthorized {
			t.Errorf("a device that the store forgot is answered %d", status)
		}
	}
	_, tokens := connectedAs(t, first, "bob")
	for _, g := range all {
		if status, _ := g.api(tokens.Access); status != http.StatusOK {
			t.Errorf("a device that was connected since is answered %d", status)
		}
	}
	again := first.refresh(tokens.Refresh)
	if retry := second.refresh(tokens.Refresh); again.Status != http.StatusOK || retry.Refresh != again.Refresh {
		t.Errorf("a retry at the other gateway: %+v after %+v", retry, again)
	}
}

// Nor do the keys get lost where the configuration is loaded anew, or Caddy started
// anew, before anybody has looked at what the store has lost.
//
// protocol 27
func TestRedisThatIsEmptiedBeforeARestartLosesNoKey(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := startCluster(t, 1, "store redis "+server.URL())[0]
	kid := func() string {
		var set struct{ Keys []struct{ Kid string } }
		if err := json.Unmarshal([]byte(g.keySet()), &set); err != nil || len(set.Keys) != 1 {
			t.Fatalf("%d keys, %v", len(set.Keys), err)
		}
		return set.Keys[0].Kid
	}
	before := kid()
	for name, anew := range map[string]func(){
		"a reload": func() {
			g.configure(func(s string) string {
				return strings.Replace(s, "\tbrand",
					"\tstore redis "+server.URL()+"\n\t\tlifetime access_token 14m\n\t\tbrand", 1)
			})
			if out, err := g.reload(); err != nil {
				t.Fatal(err, out)
			}
		},
		"a restart": func() {
			http.DefaultTransport.(*http.Transport).CloseIdleConnections()
			g.ends(stopTime)
			g.start()
		},
	} {
		server.Empty()
		anew()
		if after := kid(); after != before {
			t.Errorf("%s: the key is %s, and it was %s", name, after, before)
		}
	}
}

// rotate has gateways look at the ring, which they do every minute, now.
func rotate(t *testing.T, all ...*gateway) {
	t.Helper()
	for _, g := range all {
		if out, err := g.run("device-auth", "keys", "rotate", "--address", g.admin); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

// The ring alone is lost, as an evicting policy loses it. Nothing that a device has
// is refused for that.
//
// protocol 27
func TestRingThatIsEvictedCostsNoDevice(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	all := startCluster(t, 2, "store redis "+server.URL())
	first, second := all[0], all[1]
	_, device := connectedAs(t, first, "alice")
	server.Forget("device_login:v:keyring")
	rotate(t, all...)
	for _, g := range all {
		g.wantStatus(device, http.StatusOK)
	}
	next := second.refresh(device.Refresh)
	if retry := first.refresh(device.Refresh); next.Status != http.StatusOK || retry.Refresh != next.Refresh {
		t.Errorf("a retry at the other gateway: %+v after %+v", retry, next)
	}
	logged := strings.Count(first.log.String()+second.log.String(), "the store has lost the signing keys")
	if logged != 1 {
		t.Errorf("it is told %d times", logged)
	}
}

// A health check of a gateway that still has the keys has them written back, and is well.
func TestHealthCheckWritesLostKeysBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := startCluster(t, 1, "store redis "+server.URL())[0]
	_, device := connectedAs(t, g, "alice")
	server.Forget("device_login:v:keyring")
	for range 2 {
		if status, text := g.ask("GET", "health", ""); status != http.StatusOK {
			t.Errorf("health: %d %s", status, text)
		}
	}
	if !strings.Contains(g.log.String(), "the store has lost the signing keys; they were written back") {
		t.Errorf("the log does not say so:\n%s", g.log)
	}
	g.wantStatus(device, http.StatusOK)
}

// A gateway that begins while the ring is lost knows of none, and makes another. The
// others take over its secrets, so that they serve as one again.
//
// protocol 20, 27
func TestRingThatAnotherGatewayMadeIsFollowed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	store := "store redis " + server.URL()
	all := startCluster(t, 2, store)
	first, second := all[0], all[1]
	_, before := connectedAs(t, first, "alice")
	server.Forget("device_login:v:keyring")
	second.kill()
	second.start() // knows of no ring by now
	rotate(t, first)
	if !strings.Contains(first.log.String(), "another gateway made new ones") {
		t.Errorf("nobody is told:\n%s", first.log)
	}
	rotate(t, second)
	for _, g := range all {
		if status, _ := g.api(before.Access); status != http.StatusOK {
			t.Errorf("a token from before is answered %d", status)
		}
	}
	bob, device := connectedAs(t, first, "bob")
	next := first.refresh(device.Refresh)
	if retry := second.refresh(device.Refresh); next.Status != http.StatusOK || retry.Refresh != next.Refresh {
		t.Errorf("a retry at the other gateway: %+v after %+v", retry, next)
	}
	bob.open(second.url + "/device/connections") // sealed with the cookie key of both
	bob.sees("Your devices")
}

// A Redis that evicts is refused, with a sentence that says what to set.
func TestRedisThatEvictsIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--maxmemory-policy", "allkeys-lru")
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "\tbrand", "\tstore redis "+server.URL()+"\n\t\tbrand", 1)
	})
	out, err := g.run("run", "--config", g.config)
	if err == nil || !strings.Contains(out, "maxmemory-policy is allkeys-lru") ||
		!strings.Contains(out, "want noeviction") {
		t.Errorf("%v\n%s", err, out)
	}
}

// connectedAs is a person with a device.
func connectedAs(t *testing.T, g *gateway, user string) (*person, tokens) {
	t.Helper()
	p, d := newPerson(t, user), g.device()
	p.allow(d)
	answer := d.poll()
	if answer.Status != http.StatusOK {
		t.Fatalf("the device is answered %+v", answer)
	}
	return p, answer
}

// Whatever stands under a gateway's keys, it answers, and goes on.
//
// protocol 4
func TestRedisThatSaysNonsenseEndsNoGateway(t *testing.T) {
	t.Parallel()
	for _, nonsense := range []string{"", "null", "{}", "[]", "nonsense", `{"keys":[{}]}`,
		`{"state":"active","client":"cool-gadget"}`, `{"state":"pending"}`, `"text"`, "7"} {
		t.Run(nonsense, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			g := startCluster(t, 1, "store redis "+server.URL()+"\n\t\twait off")[0]
			alice, tokens := connectedAs(t, g, "alice")
			waiting := g.device()
			if n := server.Spoil("device_login:*", "0123456789abcdef"+nonsense); n < 5 {
				t.Fatalf("only %d keys", n)
			}
			for range 2 {
				g.run("device-auth", "keys", "rotate", "--address", g.admin)
				for name, status := range map[string]int{
					"the API": first(g.api(tokens.Access)), "a poll": waiting.poll().Status,
					"a refresh":    g.refresh(tokens.Refresh).Status,
					"a revocation": g.revoke(tokens.Refresh), "the list": first(g.ask("GET", "grants", "")),
					"the pause": first(g.ask("GET", "paused", "")),
				} {
					if status == 0 || status == http.StatusInternalServerError || status == http.StatusBadGateway {
						t.Errorf("%s is answered %d", name, status)
					}
				}
				alice.open(g.url + "/device/connections")
				alice.open(g.url + "/device")
			}
			if log := g.log.String(); strings.Contains(log, "panic") {
				t.Errorf("a panic:\n%s", log)
			}
			server.Empty()
			g.run("device-auth", "keys", "rotate", "--address", g.admin)
			if _, answer := connectedAs(t, g, "bob"); answer.Status != http.StatusOK {
				t.Errorf("it does not heal: %+v", answer)
			}
		})
	}
}

func first[A, B any](a A, _ B) A { return a }
