package main

import (
	"flag"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// logins is how many devices log in across gateways. The promise is tried out
// with -logins 200.
var logins = flag.Int("logins", 20, "device logins across gateways")

// startCluster runs gateways that share a store, and an issuer, which is the
// first one's address.
func startCluster(t *testing.T, n int, store string) (all []*gateway) {
	t.Helper()
	for i := range n {
		g := newGateway(t)
		g.configure(func(s string) string {
			if i > 0 {
				head, tail, _ := strings.Cut(s, "# The gateway:")
				head = strings.Replace(head, "issuer "+g.url, "issuer "+all[0].url, 1)
				head = strings.Replace(head, g.upstream, all[0].upstream, 1)
				s = head + "# The gateway:" + tail
			}
			return strings.Replace(s, "\tbrand", "\t"+store+"\n\t\tpending address 100000\n\t\tbrand", 1)
		})
		g.start()
		all = append(all, g)
	}
	return all
}

// on is the device talking to another gateway.
func (d *device) on(g *gateway) *device {
	other := *d
	other.g = g
	return &other
}

// allowAt decides at a gateway, by somebody who has signed in.
func (p *person) allowAt(g *gateway, d *device) {
	p.t.Helper()
	p.open(g.url + "/device")
	p.submit("/device", "user_code", d.User)
	p.sees("Connect Cool Gadget?")
	p.submit("/device/confirm", "answer", "allow")
	p.sees("is connected")
}

// signedIn is a person with a session that every gateway knows.
func signedIn(t *testing.T, g *gateway) *person {
	t.Helper()
	p := newPerson(t, "alice")
	p.allow(g.device())
	return p
}

func stores(t *testing.T) map[string]string {
	nodes := []string{"store redis"}
	for _, server := range redistest.Cluster(t) {
		nodes = append(nodes, server.URL())
	}
	return map[string]string{
		"one Redis":       "store redis " + redistest.Start(t).URL(),
		"a Redis Cluster": strings.Join(nodes, " ") + " {\n\t\t\tcluster\n\t\t}",
	}
}

// protocol 16, 17, 24, 27, 36
func TestGatewaysServeAsOne(t *testing.T) {
	t.Parallel()
	for name, store := range stores(t) {
		t.Run(name, func(t *testing.T) {
			g := startCluster(t, 3, store)
			a, b, c := g[0], g[1], g[2]
			alice := signedIn(t, a)
			for range *logins {
				d := a.device()
				alice.allowAt(b, d)
				oneGetsTokens(t, d, a, c)
			}
			wakesHeldPolls(t, alice, a, b)
			revokesEverywhere(t, alice, g)
			for i := range 6 { // guesses count together
				at := g[i%3]
				alice.open(at.url + "/device")
				alice.submit("/device", "user_code", "BBBB-BBB"+deviceauth.Base20[i:i+1])
			}
			alice.sees("Please wait")
		})
	}
}

// oneGetsTokens polls four times together, at gateways in turn: one poll is to get tokens.
func oneGetsTokens(t *testing.T, d *device, gateways ...*gateway) {
	t.Helper()
	answers := make([]tokens, 4)
	together(4, func(i int) { answers[i] = d.on(gateways[i%len(gateways)]).poll() })
	won := 0
	for _, answer := range answers {
		if answer.Status == http.StatusOK {
			won++
		} else if answer.Error != "invalid_grant" {
			t.Errorf("got %+v", answer)
		}
	}
	if won != 1 {
		t.Fatalf("%d polls got tokens", won)
	}
}

// wakesHeldPolls has a person allow devices at one gateway whose polls another one holds.
func wakesHeldPolls(t *testing.T, alice *person, a, b *gateway) {
	t.Helper()
	var took []time.Duration
	for range min(*logins, 20) {
		d, answered := a.device(), make(chan time.Time)
		go func() {
			if answer := d.poll(); answer.Status != http.StatusOK {
				t.Errorf("the held poll got %+v", answer)
			}
			answered <- time.Now()
		}()
		a.waitHeld(1)
		clicked := time.Now()
		alice.allowAt(b, d)
		took = append(took, (<-answered).Sub(clicked))
	}
	slices.Sort(took)
	// one alone says how busy the machine was; a poll that nobody woke is pending, above
	usual := took[len(took)/2]
	t.Logf("from three requests of a person at one gateway to a held poll at another: %v, and %v at most",
		usual, took[len(took)-1])
	if usual > 100*time.Millisecond && !underRace {
		t.Errorf("held polls woke after %v", usual)
	}
}

// revokesEverywhere revokes a token at one of three gateways: the others know within a second.
func revokesEverywhere(t *testing.T, alice *person, g []*gateway) {
	t.Helper()
	a, b, c := g[0], g[1], g[2]
	d := c.device()
	alice.allowAt(a, d)
	answer := d.poll()
	for _, g := range g {
		if status, body := g.api(answer.Access); status != http.StatusOK {
			t.Errorf("before the revocation: %d %s", status, body)
		}
	}
	if status := b.revoke(answer.Refresh); status != http.StatusOK {
		t.Fatalf("the revocation is answered %d", status)
	}
	revoked := time.Now()
	for _, g := range []*gateway{a, c} {
		for {
			status, _ := g.api(answer.Access)
			if status == http.StatusUnauthorized {
				break
			}
			if time.Since(revoked) > time.Second {
				t.Fatalf("a second after the revocation another gateway answers %d", status)
			}
		}
	}
	t.Logf("a revocation is known everywhere after %v", time.Since(revoked))
}

// A device that keeps to the protocol: what is 503 it asks again.
func (d *device) patientPoll(deadline time.Time) tokens {
	for {
		answer := d.poll()
		if answer.Status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			return answer
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// protocol 4, 17
func TestRedisIsKilledAndNothingIsLostOrDoubled(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := startCluster(t, 2, "store redis "+server.URL())
	const devices = 32
	all := make([]*device, devices)
	alice := signedIn(t, g[0])
	for i := range all {
		all[i] = g[0].device()
		alice.allowAt(g[1], all[i])
	}
	deadline := time.Now().Add(30 * time.Second)
	over := make(chan struct{})
	var answered atomic.Int64
	var mu sync.Mutex
	var handedOut []tokens
	var wg sync.WaitGroup
	for i, d := range all {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond) // so that some ask while the server dies
			answer := d.on(g[i%2]).patientPoll(deadline)
			if answer.Status != http.StatusOK {
				t.Errorf("a device whose person said yes got %+v", answer)
				return
			}
			if !refreshUntil(t, g[i%2], &answer, over, deadline, &answered) {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			handedOut = append(handedOut, answer)
		})
	}
	killWhileAnswered(t, server, &answered, devices, deadline)
	close(over)
	wg.Wait()
	for _, d := range all {
		if answer := d.on(g[1]).poll(); answer.Status == http.StatusOK {
			t.Error("a device code gave tokens twice")
		}
	}
	for _, answer := range handedOut {
		for _, g := range g {
			if status, _ := g.api(answer.Access); status != http.StatusOK {
				t.Errorf("after the restarts a token is answered %d", status)
			}
		}
	}
}

// killWhileAnswered kills a server four times in the midst of work: after as many answers as
// there are devices, each time.
func killWhileAnswered(
	t *testing.T, server *redistest.Server, answered *atomic.Int64, devices int64, deadline time.Time,
) {
	t.Helper()
	for range 4 {
		for before := answered.Load(); answered.Load() < before+devices && !t.Failed(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("only %d answers", answered.Load())
			}
		}
		server.Kill()
		server.Start()
	}
}

// refreshUntil refreshes again and again until over is closed; a 503 is tried again. It
// reports whether each refresh was answered so.
func refreshUntil(t *testing.T, g *gateway, held *tokens, over <-chan struct{}, deadline time.Time,
	answered *atomic.Int64) bool {
	for going := true; going; {
		select {
		case <-over:
			going = false
		default:
		}
		next := g.refresh(held.Refresh)
		switch {
		case next.Status == http.StatusOK:
			*held = next
			answered.Add(1)
		case next.Status != http.StatusServiceUnavailable || time.Now().After(deadline):
			t.Errorf("a refresh got %+v", next)
			return false
		}
		time.Sleep(5 * time.Millisecond)
	}
	return true
}

// What a gateway says while its store is away: to devices and at the guard.
func TestWithoutItsStoreAGatewaySaysThatItWillBeBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := startCluster(t, 1, "store redis "+server.URL())[0]
	d := g.device()
	newPerson(t, "alice").allow(d)
	token := d.poll()
	server.Kill()
	// the guard may believe what it remembers for less than a second
	for killed := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if status, _ := g.api(token.Access); status == http.StatusServiceUnavailable {
			break
		} else if status != http.StatusOK || time.Since(killed) > time.Second {
			t.Fatalf("%v after the store went away the guard answers %d", time.Since(killed), status)
		}
	}
	for name, ask := range requestsThatNeedTheStore(g, token) {
		response, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %s, Retry-After %q", name, response.Status, response.Header.Get("Retry-After"))
		}
	}
	server.Start()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if status, _ := g.api(token.Access); status == http.StatusOK {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("the gateway does not heal: %d", status)
		}
	}
	if answer := g.refresh(token.Refresh); answer.Status != http.StatusOK {
		t.Errorf("the refresh that was answered 503 does not work later: %+v", answer)
	}
}

func requestsThatNeedTheStore(g *gateway, token tokens) map[string]func() (*http.Response, error) {
	return map[string]func() (*http.Response, error){
		"authorization": func() (*http.Response, error) {
			return http.PostForm(g.url+"/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}})
		},
		"refresh": func() (*http.Response, error) {
			return http.PostForm(g.url+"/oauth2/token",
				url.Values{"client_id": {"cool-gadget"}, "grant_type": {"refresh_token"},
					"refresh_token": {token.Refresh}})
		},
		"the guard": func() (*http.Response, error) {
			r, err := http.NewRequest("GET", g.url+"/api/products", nil)
			if err != nil {
				return nil, err
			}
			r.Header.Set("Authorization", "Bearer "+token.Access)
			return http.DefaultClient.Do(r)
		},
	}
}
