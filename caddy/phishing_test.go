package main

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// pending wants that a device still waits.
func (d *device) pending(after string) {
	d.t.Helper()
	if answer := d.poll(); answer.Status != http.StatusBadRequest ||
		answer.Error != "authorization_pending" && answer.Error != "slow_down" {
		d.t.Errorf("%s: the device is answered %+v", after, answer)
	}
}

// An attacker's device asks from one address; the victim, who was sent the
// code, sits at another. Where the network is required there is no way on, for
// a victim who does all that pages offer, or who is told what to post.
//
// protocol 38
func TestVictimCannotLetAnAttackerInWhereTheNetworkIsRequired(t *testing.T) {
	t.Parallel()
	g := startWith(t, "network require\n\t\twait off")
	attacker := g.asksFor("cool-gadget", elsewhere)
	page := browser(t)
	do(t, page, chromedp.Navigate(attacker.Full), chromedp.Click("button"), chromedp.WaitVisible("#alice"),
		chromedp.Click("#alice"), chromedp.WaitVisible("#deny"))
	shot(t, page, "question")
	if offered := get(t, page, chromedp.Evaluate[int](
		`document.querySelectorAll("#allow, [value=allow], [name=started]").length`)); offered != 0 {
		t.Error("the page offers to allow it")
	}
	// The victim's browser is made to post it all the same, by whatever means.
	for _, fields := range []string{"answer=allow", "answer=allow&started=me",
		"answer=allow&started=me&checked=yes&confirmed=yes"} {
		forge := `const form = document.querySelector("main form"); form.innerHTML += [...new URLSearchParams("` +
			fields + `")].map(([k, v]) => "<input name=" + k + " value=" + v + ">").join(""); form.submit()`
		do(t, page, chromedp.Navigate(g.url+"/device/confirm"), chromedp.Evaluate[chromedp.Void]("{"+forge+"}"),
			chromedp.WaitVisible("p[role=alert]"))
		attacker.pending(fields)
	}
	do(t, page, chromedp.Navigate(g.url+"/device/confirm"), chromedp.WaitVisible("#deny"))
	victim := newPerson(t, "alice")
	victim.reach(attacker)
	for _, header := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded", "CF-Connecting-IP", "True-Client-IP"} {
		victim.header = http.Header{header: {elsewhere}}
		if header == "Forwarded" {
			victim.header = http.Header{header: {"for=" + elsewhere}}
		}
		victim.submit("/device/confirm", "answer", "allow", "started", "me")
		victim.sees("another network")
		attacker.pending(header)
		victim.header = nil
		victim.open("/device/confirm")
	}
	// The ticket of a device of the victim's own is no ticket for the attacker's.
	own := g.device()
	victim.open(g.url + "/device")
	victim.submit("/device", "user_code", own.User)
	victim.submit("/device/confirm", "answer", "allow", "grant", attacker.Code, "user_code", attacker.User)
	victim.sees("is connected")
	attacker.pending("the ticket of another device")
	if answer := own.poll(); answer.Status != http.StatusOK {
		t.Errorf("the victim's own device is answered %+v", answer)
	}
	decide(t, page, "#deny", ".mark.denied")
	if answer := attacker.poll(); answer.Error != "access_denied" {
		t.Errorf("after the refusal: %+v", answer)
	}
}

// The default: one click is not enough, and the second question takes a true
// answer for a no.
//
// protocol 38
func TestVictimIsAskedTwiceWhereTheNetworkIsAnother(t *testing.T) {
	t.Parallel()
	g := startWith(t, "wait off")
	page := browser(t)
	question := func(attacker *device) {
		do(t, page, chromedp.Navigate(attacker.Full), chromedp.Click("button"), chromedp.WaitVisible("#alice, #allow"))
		if get(t, page, chromedp.Evaluate[bool](`!!document.querySelector("#alice")`)) {
			do(t, page, chromedp.Click("#alice"), chromedp.WaitVisible("#allow"))
		}
		warning := get(t, page, chromedp.Text(".warning"))
		if !strings.Contains(warning, elsewhere) || !strings.Contains(warning, "127.0.0.1") {
			t.Errorf("the warning does not say both addresses: %s", warning)
		}
		decide(t, page, "#allow", "#me")
		attacker.pending("one click")
	}
	honest := g.asksFor("cool-gadget", elsewhere)
	question(honest)
	decide(t, page, "#go", "#go") // an answer is required: the page stays
	honest.pending("no answer to the second question")
	do(t, page, chromedp.Click("#other"))
	decide(t, page, "#go", ".mark.reported")
	if answer := honest.poll(); answer.Error != "access_denied" {
		t.Errorf("after a true answer: %+v", answer)
	}
	if !strings.Contains(g.log.String(), `"reason":"reported"`) {
		t.Error("the operator is not told")
	}
	owned := g.asksFor("cool-gadget", elsewhere)
	question(owned)
	do(t, page, chromedp.Click("#me"))
	decide(t, page, "#go", ".mark.allowed")
	if answer := owned.poll(); answer.Status != http.StatusOK {
		t.Errorf("after the second confirmation: %+v", answer)
	}
}

// startAt runs a gateway whose people sign in at a test provider.
func startAt(t *testing.T, idp *idptest.Provider, lines string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(at(idp, lines))
	g.start()
	return g
}

func at(idp *idptest.Provider, lines string) func(string) string {
	return func(s string) string {
		before, rest, _ := strings.Cut(s, "\t\tupstream demo")
		_, after, _ := strings.Cut(rest, "\n\t\t}\n")
		return before + "\t\tupstream work " + idp.URL + " {\n\t\t\tclient_id " + idptest.ClientID +
			"\n\t\t\tclient_secret \"" + idptest.ClientSecret + "\"\n\t\t\t" + lines + "\n\t\t}\n" + after
	}
}

// connected is a person with a device.
func connected(t *testing.T, g *gateway) (*person, tokens) {
	t.Helper()
	p, d := newPerson(t, ""), g.device()
	p.allow(d)
	answer := d.poll()
	if answer.Status != http.StatusOK {
		t.Fatalf("the device is answered %+v", answer)
	}
	return p, answer
}

// protocol 18, 23
func TestPersonRemovedFromTheRulesLosesTheDeviceAtItsNextRefresh(t *testing.T) {
	t.Parallel()
	idp := idptest.Start()
	defer idp.Close()
	idp.Behave(idptest.Behaviour{Claims: map[string]any{"groups": []string{"staff"}}})
	g := startAt(t, idp, "allow groups staff")
	_, device := connected(t, g)
	waiting := g.device()
	newPerson(t, "").allow(waiting)
	g.configure(at(idp, "allow groups owners"))
	if out, err := g.reload(); err != nil {
		t.Fatal(out)
	}
	if answer := waiting.poll(); answer.Error != "access_denied" {
		t.Errorf("allowed, and removed before it asked: %+v", answer)
	}
	if answer := g.refresh(device.Refresh); answer.Error != "invalid_grant" {
		t.Errorf("the refresh is answered %+v", answer)
	}
	g.wantStatus(device, http.StatusUnauthorized)
}

// protocol 23
func TestPersonDisabledAtTheUpstreamLosesTheDeviceAtItsNextRefresh(t *testing.T) {
	t.Parallel()
	idp := idptest.Start()
	defer idp.Close()
	idp.Behave(idptest.Behaviour{Refresh: true})
	g := startAt(t, idp, "revalidate")
	_, first := connected(t, g)
	_, second := connected(t, g) // of the same person: the provider's token was replaced
	if first = g.refresh(first.Refresh); first.Status != http.StatusOK {
		t.Fatalf("the first device's refresh is answered %+v", first)
	}
	idp.Behave(idptest.Behaviour{Down: true})
	if answer := g.refresh(first.Refresh); answer.Status != http.StatusServiceUnavailable ||
		answer.Error != "temporarily_unavailable" {
		t.Errorf("the provider is down: %+v", answer)
	}
	idp.Behave(idptest.Behaviour{Refresh: true, Disabled: true})
	for _, device := range []tokens{first, second} {
		if answer := g.refresh(device.Refresh); answer.Error != "invalid_grant" {
			t.Errorf("the refresh is answered %+v", answer)
		}
		g.wantStatus(device, http.StatusUnauthorized)
	}
}

// protocol 24
func TestPersonSignedOutAtTheUpstreamLosesTheDeviceAtOnce(t *testing.T) {
	t.Parallel()
	idp := idptest.Start()
	defer idp.Close()
	idp.Behave(idptest.Behaviour{Claims: map[string]any{"sid": "s1"}})
	g := startAt(t, idp, "")
	person, device := connected(t, g)
	logout := func(claims map[string]any) int {
		response, err := http.PostForm(g.url+"/device/backchannel-logout",
			url.Values{"logout_token": {idp.LogoutToken(claims)}})
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	if status := logout(map[string]any{"sid": "s2"}); status != http.StatusOK {
		t.Errorf("another session: %d", status)
	}
	if status, _ := g.api(device.Access); status != http.StatusOK {
		t.Errorf("another session's logout: the API answers %d", status)
	}
	if status := logout(map[string]any{"sid": "s1"}); status != http.StatusOK {
		t.Errorf("the session: %d", status)
	}
	if status, _ := g.api(device.Access); status != http.StatusUnauthorized {
		t.Errorf("after the logout the API answers %d", status)
	}
	if answer := g.refresh(device.Refresh); answer.Error != "invalid_grant" {
		t.Errorf("the refresh is answered %+v", answer)
	}
	person.open(g.url + "/device/connections")
	person.sees("You have been signed out")
	_, again := connected(t, g)
	if status, _ := g.api(again.Access); status != http.StatusOK {
		t.Errorf("after a new sign-in the API answers %d", status)
	}
}

func TestConnectedDeviceIsAnEvent(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	connect := func(client string) {
		d := g.asksFor(client, "127.0.0.1")
		p := newPerson(t, "alice")
		p.open(d.Full)
		p.submit("/device", "user_code", d.User)
		p.submit("/login", "user", "alice")
		p.submit("/device/confirm", "answer", "allow")
		d.poll()
	}
	g.configure(func(s string) string {
		s = strings.Replace(s, "\tdefault_bind", "\tdebug\n\tdefault_bind", 1)
		return strings.Replace(s, "\tbrand",
			"\tclient told {\n\t\t\tname \"Meeting Room\"\n\t\t\tnotify\n\t\t}\n\t\tbrand", 1)
	})
	g.start()
	connect("cool-gadget")
	connect("told")
	g.log.wait(t, `"name":"device_connected"`)
	log := g.log.String()
	if n := strings.Count(log, `"name":"device_connected"`); n != 1 {
		t.Errorf("%d events, want that of the client with notify alone", n)
	}
	for _, want := range []string{`"device":"Meeting Room"`, `"email":"alice@example.com"`, `/device/connections"`} {
		if !strings.Contains(log, want) {
			t.Errorf("the event does not say %s", want)
		}
	}
}
