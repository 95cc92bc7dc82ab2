package main

import (
	"context"
	"math/rand/v2"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// tab is another tab of a person's browser: the same cookies, another page.
func (p *person) tab() *person { return &person{t: p.t, http: p.http, user: p.user} }

var shownCode = regexp.MustCompile(`id="code"[^>]*>([^<]+)<`)

// A verdict is what one tab was told of its answer.
type verdict struct {
	code, user string // of the request that its page showed; by whom
	decision   string // allow or deny
	counted    bool   // the page says that it was done; else that somebody else was faster
}

// decide goes to the question with a code, waits for the others, and answers
// what the page shows then, which may be about the code of another tab.
func (p *person) decide(g *gateway, code string, together *sync.WaitGroup) (v verdict, ok bool) {
	arrive := sync.OnceFunc(together.Done)
	defer arrive() // also where this tab fails
	p.open(g.url + "/device")
	p.submit("/device", "user_code", code)
	shown := shownCode.FindStringSubmatch(p.page)
	arrive()
	together.Wait()
	if shown == nil {
		return v, false // another tab's answer made the browser forget the code
	}
	v = verdict{code: shown[1], user: p.user, decision: []string{"allow", "deny"}[rand.IntN(2)]}
	before := *p
	p.submit("/device/confirm", "answer", v.decision)
	heading := heading.FindStringSubmatch(p.page)[1]
	v.counted = strings.Contains(heading, map[string]string{"allow": "is connected", "deny": "was refused"}[v.decision])
	if !v.counted && !strings.Contains(heading, "has been answered") {
		p.t.Errorf("%s of %s is answered with the page %q", v.decision, v.code, heading)
	}
	if rand.IntN(2) == 0 { // a double click, or the back button: it is too late, and harmless
		before.submit("/device/confirm", "answer", "deny")
		before.sees("has been answered")
	}
	return v, true
}

// protocol 35, 38, 39, 40
func TestTwoBrowsersWithThreeTabsEachActAgainstEachOther(t *testing.T) {
	t.Parallel()
	g := startWith(t, "network off\n\t\twait off")
	people := []*person{signedIn(t, g), newPerson(t, "bob")}
	people[0].user = "alice"
	bobs := g.device()
	people[1].deny(bobs)
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	for range rounds {
		devices := []*device{g.device(), g.device()}
		var together, done sync.WaitGroup
		var mu sync.Mutex
		verdicts := map[string][]verdict{}
		together.Add(6)
		for i := range 6 {
			tab, code := people[i%2].tab(), devices[rand.IntN(2)].User
			done.Go(func() {
				if v, ok := tab.decide(g, code, &together); ok {
					mu.Lock()
					defer mu.Unlock()
					verdicts[v.code] = append(verdicts[v.code], v)
				}
			})
		}
		done.Wait()
		for _, d := range devices {
			g.agrees(d, verdicts[d.User])
		}
	}
}

// agrees wants that one tab's answer counted, and that the device hears it.
func (g *gateway) agrees(d *device, verdicts []verdict) {
	g.t.Helper()
	var winner verdict
	counted := 0
	for _, v := range verdicts {
		if v.counted {
			winner, counted = v, counted+1
		}
	}
	answer := d.poll()
	switch {
	case len(verdicts) == 0:
		if answer.Error != "authorization_pending" {
			g.t.Errorf("nobody answered %s, and it hears %+v", d.User, answer)
		}
	case counted != 1:
		g.t.Errorf("%d answers to %s counted: %+v", counted, d.User, verdicts)
	case winner.decision == "deny" && answer.Error != "access_denied":
		g.t.Errorf("%s was refused, and hears %+v", d.User, answer)
	case winner.decision == "allow":
		if status, body := g.api(answer.Access); status != http.StatusOK ||
			!strings.Contains(body, `"Remote-User": "`+winner.user+`"`) {
			g.t.Errorf("%s was allowed by %s; the API answers %d %s", d.User, winner.user, status, body)
		}
	}
}

// The same with real browsers, one step after the other.
//
// protocol 38, 39, 40, 41
func TestTabsOfTwoBrowsersTellTheTruth(t *testing.T) {
	t.Parallel()
	g := startWith(t, "wait off")
	first, second := g.device(), g.device()
	alice := browser(t)
	aliceToo, bob := tab(t, alice), browser(t)
	wantHeading := func(page context.Context, want string) {
		t.Helper()
		if h := get(t, page, chromedp.Text("h1")); !strings.Contains(h, want) {
			t.Errorf("the page says %q, want %q", h, want)
		}
	}
	reachQuestion(t, alice, first, "alice")
	reachQuestion(t, bob, first, "bob")
	reachQuestion(t, aliceToo, second, "alice") // changes the cookies of the first tab
	decide(t, alice, "#allow", ".mark.allowed")
	second.pending("the first tab's Allow")
	decide(t, aliceToo, "#deny", ".mark.denied")
	do(t, alice, chromedp.Reload(), chromedp.WaitVisible(".mark.allowed")) // and not the other tab's outcome
	decide(t, bob, "#deny", "p[role=alert]")
	wantHeading(bob, "has been answered")
	back(t, alice) // to where the code is forgotten, or to the question as it was
	if answer := first.poll(); answer.Status != http.StatusOK {
		t.Errorf("the first device is answered %+v", answer)
	}
	if answer := second.poll(); answer.Error != "access_denied" {
		t.Errorf("the second device is answered %+v", answer)
	}
	// Another account in one tab ends the pages of the other.
	third := g.device()
	reachQuestion(t, alice, third, "alice")
	reachQuestion(t, aliceToo, third, "alice")
	do(t, aliceToo, chromedp.Click("button.link"), chromedp.WaitVisible("a.button"))
	decide(t, alice, "#allow", "p[role=alert]")
	wantHeading(alice, "out of date")
	third.pending("the Allow of a session that has ended")
	do(t, aliceToo, chromedp.Click("a.button"), chromedp.WaitVisible("#bob"), chromedp.Click("#bob"),
		chromedp.WaitVisible("#allow"))
	if account := get(t, aliceToo, chromedp.Text(".facts")); !strings.Contains(account, "Bob Example") {
		t.Errorf("after another account was chosen the page names %q", account)
	}
	decide(t, aliceToo, "#allow", ".mark.allowed")
	if status, body := g.api(third.poll().Access); status != http.StatusOK ||
		!strings.Contains(body, `"Remote-User": "bob"`) {
		t.Errorf("the API answers %d %s", status, body)
	}
}

// reachQuestion has a browser confirm a device's code, and sign in unless it is.
func reachQuestion(t *testing.T, page context.Context, d *device, user string) {
	t.Helper()
	do(t, page, chromedp.Navigate(d.Full), chromedp.Click("button"), chromedp.WaitVisible("#alice, #allow"))
	if get(t, page, chromedp.Evaluate[bool](`!!document.querySelector("#alice")`)) {
		do(t, page, chromedp.Click("#"+user), chromedp.WaitVisible("#allow"))
	}
}
