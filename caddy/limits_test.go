package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// behindProxy has a gateway believe this machine, which plays the proxy, about
// who asks.
func behindProxy(more string) func(string) string {
	return func(s string) string {
		servers := "\tservers {\n\t\ttrusted_proxies static 127.0.0.0/8 ::1/128\n" + more + "\t}\n"
		return strings.Replace(s, "\tdefault_bind", servers+"\tdefault_bind", 1)
	}
}

// signedInFrom is somebody of an upstream, with a browser at an address.
func signedInFrom(t *testing.T, g *gateway, idp *idptest.Provider, subject, address string) *person {
	t.Helper()
	idp.Behave(idptest.Behaviour{Claims: map[string]any{"sub": subject, "name": subject}})
	p := newPerson(t, "")
	p.header = http.Header{}
	p.signsInFrom(g, address)
	return p
}

// signsInFrom signs the person that the upstream knows in, and leaves the browser
// where codes are typed.
func (p *person) signsInFrom(g *gateway, address string) {
	p.t.Helper()
	p.header.Set("X-Forwarded-For", address)
	p.open(g.url + "/device/connections")
	p.open(g.url + "/device/sign-in")
	p.open(g.url + "/device")
}

// asksFrom asks for a code as a device at an address, and returns how that was
// answered.
func (g *gateway) asksFrom(address string, header http.Header) (d *device, status int) {
	g.t.Helper()
	r, err := http.NewRequest("POST", g.url+"/oauth2/device_authorization", strings.NewReader("client_id=cool-gadget"))
	if err != nil {
		g.t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", address)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		g.t.Error(err)
		return nil, 0
	}
	defer response.Body.Close()
	d = &device{t: g.t, g: g, client: "cool-gadget"}
	if err := json.NewDecoder(response.Body).Decode(d); err != nil {
		g.t.Error(err)
	}
	return d, response.StatusCode
}

// guess types a wrong code, and returns the status of what it leads to.
func (p *person) guess(n int) int {
	code := "BBBB-"
	for _, digit := range []int{n / 8000, n / 400, n / 20, n} {
		code += deviceauth.Base20[digit%20 : digit%20+1]
	}
	to := p.at.ResolveReference(&url.URL{Path: "/device"})
	form := p.fields(to)
	form.Set("user_code", code)
	r, err := http.NewRequest("POST", to.String(), strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Error(err)
		return 0
	}
	r.Header = p.header.Clone()
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := p.http.Do(r)
	if err != nil {
		p.t.Error(err)
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// Limits stop attackers and leave others alone. While an attacker with an IPv6 /48 asks for
// codes without end, a page that a visitor in an office has open guesses and has
// the browser ask, and sixty guest accounts guess, a third of them in the office,
// a device and its person are served within two seconds: elsewhere, and behind
// the office's one address.
//
// protocol 11, 36
func TestHonestAreServedWhileOthersAttack(t *testing.T) {
	const office, home = "198.51.100.7", "203.0.113.9"
	idp := idptest.Start()
	defer idp.Close()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = behindProxy("\t\ttrusted_proxies_strict\n")(at(idp, "")(s))
		return strings.Replace(s, "\tbrand", "\tpending client 300\n\t\tbrand", 1)
	})
	g.start()
	honest := map[string]*person{
		office: signedInFrom(t, g, idp, "honest in the office", office),
		home:   signedInFrom(t, g, idp, "honest at home", home),
	}
	attack := &attack{g: g, statuses: map[string]int{}}
	page := signedInFrom(t, g, idp, "visitor of an evil page", office)
	guests := attack.guests(t, idp, office)
	over := make(chan struct{})
	attack.repeat(over, func(n int) {
		_, status := g.asksFrom(fmt.Sprintf("2001:db8:66:%x::1", n%65_536), nil)
		attack.note("attacker", status)
	})
	attack.repeat(over, func(n int) {
		attack.note("page", page.guess(n))
		browsers := http.Header{"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}}
		_, status := g.asksFrom(office, browsers)
		attack.note("page's request", status)
	})
	attack.repeat(over, func(n int) {
		guest := guests[n%60]
		if n == 5*60 || n == 2*5*60 { // each at another address, where a browser has five more
			for i, guest := range guests {
				guest.header.Set("X-Forwarded-For", guestAddress(n/(5*60), i))
			}
		}
		attack.note("guest", guest.guess(n))
	})
	served, slowest := attack.serve(t, honest)
	close(over)
	attack.wg.Wait()
	t.Logf("%d served, the slowest in %v; %v", served, slowest, attack.statuses)
	if slowest > 2*time.Second && !underRace {
		t.Errorf("an honest person waited %v", slowest)
	}
	attack.check(t)
}

// An attack is what goes on beside honest devices: its requests are counted by who sent
// them and by the status of the response.
type attack struct {
	g        *gateway
	wg       sync.WaitGroup
	mu       sync.Mutex
	statuses map[string]int
}

func (a *attack) note(who string, status int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.statuses[fmt.Sprint(who, " ", status)]++
}

// failures counts the wrong user codes that were looked at.
func (a *attack) failures() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.statuses["guest 404"] + a.statuses["page 404"]
}

// repeat does something again and again until over is closed.
func (a *attack) repeat(over <-chan struct{}, do func(n int)) {
	a.wg.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-over:
				return
			default:
				do(n)
			}
		}
	})
}

// guests are sixty guest accounts that are signed in, a third of them in the office.
func (a *attack) guests(t *testing.T, idp *idptest.Provider, office string) (guests []*person) {
	t.Helper()
	for i := range 60 {
		address := fmt.Sprintf("192.0.2.%d", i)
		if i%3 == 0 {
			address = office
		}
		guest := signedInFrom(t, a.g, idp, fmt.Sprint("guest ", i), guestAddress(1, i))
		guest.signsInFrom(a.g, guestAddress(2, i))
		guest.signsInFrom(a.g, address)
		guests = append(guests, guest)
	}
	return guests
}

// guestAddress is the nth further address of a guest.
func guestAddress(n, guest int) string { return fmt.Sprintf("192.1.%d.%d", n, guest) }

// serve connects devices of honest people, by their addresses, until the total of wrong
// codes is used up and two seconds more.
func (a *attack) serve(t *testing.T, honest map[string]*person) (served int, slowest time.Duration) {
	t.Helper()
	end := time.Now().Add(40 * time.Second) // within the minute that the total is of
	for used := false; time.Now().Before(end) && !t.Failed(); {
		if !used && a.failures() >= 600 { // the total is used up: two seconds more
			used, end = true, time.Now().Add(2*time.Second)
		}
		for address, person := range honest {
			began := time.Now()
			d, status := a.g.asksFrom(address, nil)
			if status != http.StatusOK {
				t.Fatalf("a device at %s is answered %d", address, status)
			}
			person.open(a.g.url + "/device")
			person.submit("/device", "user_code", d.User)
			person.sees("Connect Cool Gadget?")
			person.submit("/device/confirm", "answer", "allow")
			person.sees("is connected")
			if response := d.poll(); response.Status != http.StatusOK {
				t.Fatalf("a device at %s is given %+v", address, response)
			}
			slowest = max(slowest, time.Since(began))
			served++
		}
	}
	return served, slowest
}

// check wants each kind of attacker to have met its limit, and the total to have been reached.
func (a *attack) check(t *testing.T) {
	t.Helper()
	for _, want := range []string{"attacker 429", "page 429", "guest 429", "guest 404", "page's request 403"} {
		if a.statuses[want] == 0 {
			t.Errorf("no response was %s: %v", want, a.statuses)
		}
	}
	if a.failures() < 600 {
		t.Errorf("only %d wrong codes were looked at: the total was never reached", a.failures())
	}
	if n := a.statuses["page's request 200"]; n != 0 {
		t.Errorf("a page of another site was given %d codes", n)
	}
}

// A gateway says at its start when anybody behind a proxy may choose an address.
func TestProxyThatLetsClientsChooseTheirAddressIsWarnedAbout(t *testing.T) {
	t.Parallel()
	const warning = "chooses their address"
	tests := []struct {
		name   string
		change func(string) string
		warned bool
	}{
		{"no proxy", func(s string) string { return s }, false},
		{"trusted", behindProxy(""), true},
		{"trusted, strict", behindProxy("\t\ttrusted_proxies_strict\n"), false},
		{"trusted, by another header", behindProxy("\t\tclient_ip_headers CF-Connecting-IP\n"), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			g := newGateway(t)
			g.configure(func(s string) string {
				s = strings.Replace(s, "\tbrand", "\tnetwork require\n\t\tbrand", 1)
				return test.change(s)
			})
			g.start()
			if warned := strings.Contains(g.log.String(), warning); warned != test.warned {
				t.Errorf("warned: %v\n%s", warned, g.log)
			}
			if test.warned && !strings.Contains(g.log.String(), `"network require"`) {
				t.Error("the warning does not say what rests on the address")
			}
		})
	}
}
