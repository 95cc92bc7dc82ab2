package deviceauth

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The world of the table: one moment, one device code, three refresh tokens.
var (
	noon       = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	deviceCode = digest([]byte("device code"))
	before     = digest([]byte("the refresh token before"))
	current    = digest([]byte("the current refresh token"))
	next       = digest([]byte("the next refresh token"))
	alice      = &Person{Subject: "work|1", Upstream: "work", User: "alice"}
)

// grantIn returns a grant in a state, as its life would have made it. At noon
// its code is in time, or has just expired.
func grantIn(state State, expired bool) *Grant {
	g := &Grant{State: state, ClientID: "tv", UserCode: "BCDFGHJK", Device: deviceCode, Scope: "openid offline_access",
		Created: noon.Add(-time.Minute), Expires: noon.Add(time.Minute)}
	if expired {
		g.Created, g.Expires = noon.Add(-10*time.Minute), noon
	}
	if state == Approved || state == Active || state == Revoked {
		g.Person, g.Decided = alice, g.Created
	}
	if state == Active || state == Revoked {
		g.UserCode, g.Redeemed, g.AccessUntil = "GHJK", noon.Add(-10*time.Second), noon.Add(time.Minute)
		g.Refresh = &Refresh{Current: current, Previous: before, Rotated: noon.Add(-10 * time.Second),
			Idle: noon.Add(day), Until: noon.Add(2 * day)}
	}
	return g
}

func redemption() Redemption {
	return Redemption{
		ClientID: "tv", Device: deviceCode, Permitted: func(*Person) bool { return true }, Entitled: entitled,
		AccessUntil: noon.Add(time.Minute),
		Refresh:     &Refresh{Current: current, Rotated: noon, Idle: noon.Add(day), Until: noon.Add(2 * day)},
	}
}

// inBrowser makes of a device's grant that of a program on the computer of its browser.
func inBrowser(g *Grant) *Grant {
	g.Redirect = "http://127.0.0.1/callback"
	return g
}

func exchange() Redemption {
	r := redemption()
	r.Redirect = "http://127.0.0.1/callback"
	return r
}

func rotation(presented Digest) Rotation {
	return Rotation{ClientID: "tv", Person: alice, Permitted: func(*Person) bool { return true }, Entitled: entitled,
		Presented: presented, Successor: next, Idle: day, Grace: 30 * time.Second, AccessUntil: noon.Add(time.Minute)}
}

// redelivery is of the tokens that a grant was redeemed for.
func redelivery(g *Grant) Redelivery {
	tokens := &Tokens{until: g.AccessUntil, refresh: g.Refresh, terms: Terms{Scope: g.Scope}}
	return Redelivery{Tokens: tokens, Permitted: func(*Person) bool { return true }, Entitled: entitled}
}

// entitled is a client that may still have its granted scope.
var entitled = Entitlement{Scope: "openid offline_access"}

// events are all that can happen to a grant.
var events = []struct {
	name string
	do   func(*Grant) error
}{
	{"a person says yes", func(g *Grant) error { return g.Approve(noon, alice) }},
	{"a person says no", func(g *Grant) error { return g.Deny(noon, "") }},
	{"a person says that somebody else had asked for a yes",
		func(g *Grant) error { return g.Deny(noon, ReasonReported) }},
	{"a request of somebody else takes its place", func(g *Grant) error { return g.CrowdOut(noon) }},
	{"the device polls", func(g *Grant) error { return g.Redeem(noon, redemption()) }},
	{"the device polls, half a minute after its tokens were given", func(g *Grant) error {
		g.Redeemed = noon.Add(-replayGrace - time.Second)
		return g.Redeem(noon, redemption())
	}},
	{"the device polls, a minute after its code expired",
		func(g *Grant) error { return g.Redeem(noon.Add(2*time.Minute), redemption()) }},
	{"the device polls, the person may no longer approve", func(g *Grant) error {
		r := redemption()
		r.Permitted = func(*Person) bool { return false }
		return g.Redeem(noon, r)
	}},
	{"the device polls, its client may have nothing any more", func(g *Grant) error {
		r := redemption()
		r.Entitled = Entitlement{}
		return g.Redeem(noon, r)
	}},
	{"the device polls for tokens that the store kept and did not confirm",
		func(g *Grant) error { return g.Redeliver(noon, redelivery(g)) }},
	{"the same, after it has refreshed", func(g *Grant) error {
		r := redelivery(g)
		r.Tokens.refresh = &Refresh{Current: before}
		return g.Redeliver(noon, r)
	}},
	{"the same, the person may no longer approve", func(g *Grant) error {
		r := redelivery(g)
		r.Permitted = func(*Person) bool { return false }
		return g.Redeliver(noon, r)
	}},
	{"the same, its client may have nothing any more", func(g *Grant) error {
		r := redelivery(g)
		r.Entitled = Entitlement{}
		return g.Redeliver(noon, r)
	}},
	{"another client polls", func(g *Grant) error {
		r := redemption()
		r.ClientID = "printer"
		return g.Redeem(noon, r)
	}},
	{"somebody polls with the right id and a wrong secret", func(g *Grant) error {
		r := redemption()
		r.Device = digest([]byte("a guess"))
		return g.Redeem(noon, r)
	}},
	{"a program exchanges its authorization code",
		func(g *Grant) error { return inBrowser(g).Exchange(noon, exchange()) }},
	{"a program exchanges its authorization code from another network than its browser's", func(g *Grant) error {
		r := exchange()
		r.Elsewhere = true
		return inBrowser(g).Exchange(noon, r)
	}},
	{"a program exchanges its authorization code for another redirect URI", func(g *Grant) error {
		r := exchange()
		r.Redirect = "http://127.0.0.1/other"
		return inBrowser(g).Exchange(noon, r)
	}},
	{"a program exchanges its authorization code, the person may no longer approve", func(g *Grant) error {
		r := exchange()
		r.Permitted = func(*Person) bool { return false }
		return inBrowser(g).Exchange(noon, r)
	}},
	{"a program exchanges its authorization code, its client may have nothing any more", func(g *Grant) error {
		r := exchange()
		r.Entitled = Entitlement{}
		return inBrowser(g).Exchange(noon, r)
	}},
	{"the person says yes to a program a second time", func(g *Grant) error {
		return inBrowser(g).Reissue(noon, alice, digest([]byte("another code")))
	}},
	{"another person says yes to a program", func(g *Grant) error {
		return inBrowser(g).Reissue(noon, &Person{Subject: "work|mallory"}, digest([]byte("another code")))
	}},
	{"the person says yes to a device as to a program", func(g *Grant) error {
		return g.Reissue(noon, alice, digest([]byte("another code")))
	}},
	{"another client exchanges a program's authorization code", func(g *Grant) error {
		r := exchange()
		r.ClientID = "printer"
		return inBrowser(g).Exchange(noon, r)
	}},
	{"a program polls with its authorization code as a device does",
		func(g *Grant) error { return inBrowser(g).Redeem(noon, redemption()) }},
	{"a device exchanges its device code as a program does",
		func(g *Grant) error { return g.Exchange(noon, exchange()) }},
	{"the device refreshes", func(g *Grant) error { return g.Rotate(noon, rotation(current)) }},
	{"the device refreshes, wanting more than it was granted", func(g *Grant) error {
		r := rotation(current)
		r.Scope = "openid admin"
		return g.Rotate(noon, r)
	}},
	{"the device refreshes again with the token before, soon",
		func(g *Grant) error { return g.Rotate(noon, rotation(before)) }},
	{"the device refreshes again with the token before, late",
		func(g *Grant) error { return g.Rotate(noon.Add(time.Minute), rotation(before)) }},
	{"an older token is presented",
		func(g *Grant) error { return g.Rotate(noon, rotation(digest([]byte("an older token")))) }},
	{"the device refreshes after its idle time",
		func(g *Grant) error { return g.Rotate(noon.Add(day), rotation(current)) }},
	{"the device refreshes, the person may no longer approve", func(g *Grant) error {
		r := rotation(current)
		r.Permitted = func(*Person) bool { return false }
		return g.Rotate(noon, r)
	}},
	{"the device refreshes, its client may have nothing any more", func(g *Grant) error {
		r := rotation(current)
		r.Entitled = Entitlement{}
		return g.Rotate(noon, r)
	}},
	{"an older token is presented, its client may have nothing any more", func(g *Grant) error {
		r := rotation(digest([]byte("an older token")))
		r.Entitled = Entitlement{}
		return g.Rotate(noon, r)
	}},
	{"the device refreshes, the upstream no longer vouches for the person", func(g *Grant) error {
		r := rotation(current)
		r.Person = nil
		return g.Rotate(noon, r)
	}},
	{"another client refreshes", func(g *Grant) error {
		r := rotation(current)
		r.ClientID = "printer"
		return g.Rotate(noon, r)
	}},
	{"its person names it", func(g *Grant) error { return g.Rename(noon, alice, "Kitchen") }},
	{"its person names it, when it has not come back in time",
		func(g *Grant) error { return g.Rename(noon.Add(day), alice, "Kitchen") }},
	{"its person takes its name away", func(g *Grant) error { g.Name = "Kitchen"; return g.Rename(noon, alice, "") }},
	{"its person names it as it is named",
		func(g *Grant) error { g.Name = "Kitchen"; return g.Rename(noon, alice, "Kitchen") }},
	{"somebody else names it", func(g *Grant) error {
		return g.Rename(noon, &Person{Subject: "home|1", Upstream: "home", User: "alice"}, "Kitchen")
	}},
	{"the operator ends it", func(g *Grant) error { return g.Withdraw(noon, ReasonOperator) }},
	{"the device or a person revokes", func(g *Grant) error { return g.Revoke(noon, ReasonRevoked) }},
}

// table spells out the protocol: every event in every state, and again for an
// expired code where that makes a difference.
func table() string {
	var b strings.Builder
	b.WriteString("What happens to a grant in each state, and what is answered.\n" +
		"An expired device code has a line of its own where it makes a difference.\n" +
		"Written by TestTransitions; go test ./deviceauth -update writes it anew.\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, event := range events {
		fmt.Fprintf(w, "\n%s\n", event.name)
		for _, state := range []State{Pending, Denied, Approved, Active, Revoked} {
			inTime, expired := outcome(event.do, state, false), outcome(event.do, state, true)
			fmt.Fprintf(w, "  %s\t→ %s\n", state, inTime)
			if expired != inTime {
				fmt.Fprintf(w, "  %s, expired\t→ %s\n", state, expired)
			}
		}
	}
	w.Flush()
	return trimLines(b.String())
}

func outcome(do func(*Grant) error, state State, expired bool) string {
	g := grantIn(state, expired)
	code := g.UserCode
	err := do(g)
	end := ending(g)
	if g.UserCode != code {
		end += ", code …" + string(g.UserCode)
	}
	return end + "\t" + verdict(err)
}

func ending(g *Grant) string {
	if g.Reason != "" && g.Revision > 0 {
		return fmt.Sprintf("%s (%s)", g.State, g.Reason)
	}
	if g.Revision == 0 {
		return "unchanged"
	}
	if g.Name != "" {
		return fmt.Sprintf("%s, named %s", g.State, g.Name)
	}
	return string(g.State)
}

func verdict(err error) string {
	if err != nil {
		return err.Error()
	}
	return "ok"
}

func trimLines(s string) string {
	lines := strings.Split(s, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

// protocol 14, 15, 17, 18, 20, 22, 23, 38
func TestTransitions(t *testing.T) {
	const golden = "testdata/transitions.txt"
	got := table()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the protocol has changed; if that is meant, run go test ./deviceauth -update and read the "+
			"difference.\n%s", got)
	}
}
