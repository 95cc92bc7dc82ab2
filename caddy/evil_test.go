package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// evilBrowser is a Chromium that opens windows for every page that wants some, and
// whose console may say what it likes.
func evilBrowser(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewExecAllocator(context.Background(),
		append(chromium(t), chromedp.Flag("disable-popup-blocking", true))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	// without a time limit: the browser lives as long
	if err := chromedp.Do(ctx, chromedp.EmulateViewport(390, 844)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// An evilAttempt is what a script does that wants a device approved by whoever is
// signed in, without that person. It returns what it came to.
type evilAttempt struct{ name, script, comesTo string }

// evilAttempts are asynchronous functions of a script. ISSUER is the origin of the
// pages; allow is tried with whatever ticket was found.
var evilAttempts = []evilAttempt{
	{name: "reads the question and answers it", script: `
		let ticket;
		for (const path of ["/device", "/device/confirm", "/device/connections", "/device/script.js",
			"/oauth2/authorize"]) {
			const asked = fetch(ISSUER + path, {credentials: "include", headers: {Accept: "text/html"}});
			const page = await asked.then((r) => r.text(), () => "");
			ticket ??= /name="ticket" value="([^"]+)"/.exec(page)?.[1];
		}
		for (const mode of ["cors", "no-cors"])
			await fetch(ISSUER + "/device/confirm", {method: "POST", mode, credentials: "include",
				body: new URLSearchParams({ticket: ticket ?? "", answer: "allow", started: "me"})}).catch(() => 0);
		return ticket ? "read" : "kept out"`, comesTo: "kept out"},
	{name: "asks with another destination", script: `
		for (const tag of ["img", "script", "object", "embed"]) {
			const e = document.createElement(tag);
			e.src = e.data = ISSUER + "/device/confirm";
			document.body.append(e);
		}
		await new Promise((done) => setTimeout(done, 300));
		return "kept out"`, comesTo: "kept out"},
	{name: "frames the question", script: `
		const frame = document.createElement("iframe");
		const loaded = new Promise((done) => { frame.onload = done; setTimeout(done, 2000); });
		frame.src = ISSUER + "/device/confirm";
		document.body.append(frame);
		await loaded;
		try {
			frame.contentDocument.querySelector("#allow").click();
			return "clicked";
		} catch { return "kept out"; }`, comesTo: "kept out"},
	{name: "opens the question and clicks", script: `
		const opened = open(ISSUER + "/device/confirm");
		for (let i = 0; i < 40 && !opened.closed; i++) {
			await new Promise((done) => setTimeout(done, 50));
			try {
				const button = opened.document.querySelector("#allow");
				if (button) { button.click(); return "clicked"; }
			} catch {}
		}
		return opened.closed ? "kept out" : "holds the window"`, comesTo: "kept out"},
	{name: "steers a window from one code to another", script: `
		const opened = open(ISSUER + "/device");
		for (let i = 0; i < 40 && !opened.closed; i++) await new Promise((done) => setTimeout(done, 50));
		const held = !opened.closed;
		try { opened.location = ISSUER + "/device/confirm"; } catch {}
		return held ? "holds the window" : "kept out"`, comesTo: "kept out"},
	{name: "holds a window by a file of ours and takes it to the question", script: `
		const opened = open(ISSUER + "/device/style.css");
		await new Promise((done) => setTimeout(done, 500));
		opened.location = ISSUER + "/device/confirm";
		for (let i = 0; i < 40 && !opened.closed; i++) await new Promise((done) => setTimeout(done, 50));
		return opened.closed ? "kept out" : "holds the window"`, comesTo: "kept out"},
	{name: "becomes the pages' service worker", script: `
		let registered = 0;
		for (const path of ["/device/script.js", "/device", "/device/confirm", "/device/none.js", "/oauth2/jwks"])
			await navigator.serviceWorker.register(ISSUER + path, {scope: ISSUER + "/device"})
				.then(() => registered++, () => 0);
		return registered ? "registered" : "kept out"`, comesTo: "kept out"},
}

// evilForms are posted by navigations, which a script can cause. CODE is that of an
// attacker's device.
var evilForms = []string{
	`{action: ISSUER + "/device", fields: {user_code: "CODE"}}`,
	`{action: ISSUER + "/device/confirm", fields: {answer: "allow", started: "me", user_code: "CODE"}}`,
	`{action: ISSUER + "/device/connections", fields: {device: "all"}}`,
	`{action: ISSUER + "/device/sign-out", fields: {then: "leave"}}`,
}

// evilStage is where a script stands, and how the pages call that.
type evilStage struct {
	name, address string
	sameOrigin    bool
}

// stages are a page of another site, one of the issuer's site on another origin, as
// an API on a host of its own is, and one of the issuer's own origin, where the old
// API and the pages share a host.
func stages(t *testing.T, g *gateway) []evilStage {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>old</title><link rel=icon href=data:,><h1>old</h1>")
	}))
	t.Cleanup(server.Close)
	return []evilStage{
		{name: "another site", address: server.URL + "/", sameOrigin: false},
		{name: "the same site", address: strings.Replace(server.URL, "127.0.0.1", "localhost", 1) + "/",
			sameOrigin: false},
		{name: "the same origin", address: g.url + "/old/", sameOrigin: true},
		{name: "the same origin, with the pages' opener policy", address: g.url + "/old/coop/", sameOrigin: true},
	}
}

// startBesideOldPages runs a gateway whose host has pages of an old application.
func startBesideOldPages(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "\tbrand", "\twait off\n\t\tbrand", 1)
		return strings.Replace(s, "\tredir / /gadget/",
			"\thandle /old/* {\n\t\theader Content-Type text/html\n"+
				"\t\theader /old/coop/* Cross-Origin-Opener-Policy same-origin\n"+
				"\t\trespond \"<!doctype html><title>old</title><h1>old</h1>\"\n\t}\n\tredir / /gadget/", 1)
	})
	g.start()
	return g
}

// runsIn runs an asynchronous function's body on a page.
func runsIn(t *testing.T, page context.Context, issuer, body string) string {
	t.Helper()
	script := fmt.Sprintf(`(async () => { const ISSUER = %q; %s })().catch((e) => "failed: " + e)`, issuer, body)
	return get(t, page, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
}

// No script approves a device for whoever is signed in: not from another site, not
// from a page of the API, and not even from a page on the pages' own host by these
// means. Nor does one sign anybody out, cut a device off, use codes up, or have
// codes made.
//
// protocol 11, 35, 38, 42
func TestScriptsApproveNothingForThePersonSignedIn(t *testing.T) {
	t.Parallel()
	g := startBesideOldPages(t)
	page := evilBrowser(t)
	kept := g.device() // of the person
	do(t, page, chromedp.Navigate(kept.Full), chromedp.Click("button"), chromedp.WaitVisible("#alice"))
	do(t, page, chromedp.Click("#alice"), chromedp.WaitVisible("#allow"))
	decide(t, page, "#allow", ".mark.allowed")
	token := kept.poll().Access
	lure := g.device() // of an attacker, who has the person look at its question
	for _, stage := range stages(t, g) {
		for _, attempt := range evilAttempts {
			do(t, page, chromedp.Navigate(lure.Full), chromedp.Click("main button"), chromedp.WaitVisible("#allow"))
			do(t, page, chromedp.Navigate(stage.address), chromedp.WaitVisible("h1"))
			if outcome := runsIn(t, page, g.url, attempt.script); outcome != attempt.comesTo {
				t.Errorf("a script of %s %s: %s, want %s", stage.name, attempt.name, outcome, attempt.comesTo)
			}
			lure.pending(stage.name + " " + attempt.name)
		}
		for _, form := range evilForms {
			do(t, page, chromedp.Navigate(lure.Full), chromedp.Click("main button"), chromedp.WaitVisible("#allow"))
			do(t, page, chromedp.Navigate(stage.address), chromedp.WaitVisible("h1"))
			postsForm(t, page, g.url, strings.ReplaceAll(form, "CODE", lure.User))
			do(t, page, chromedp.WaitVisible("main h1"))
			lure.pending(stage.name + " posts " + form)
		}
		if stage.sameOrigin {
			continue // a page there may play a device, as the gadget does
		}
		do(t, page, chromedp.Navigate(stage.address), chromedp.WaitVisible("h1"))
		runsIn(t, page, g.url, `for (const mode of ["cors", "no-cors"])
			for (let i = 0; i < 20; i++)
				await fetch(ISSUER + "/oauth2/device_authorization",
					{method: "POST", mode, body: new URLSearchParams({client_id: "cool-gadget"})}).catch(() => 0);
			return ""`)
		if waiting := g.metric("caddy_device_login_pending"); stage.name == "another site" && waiting != "1" {
			t.Errorf("%s: %s codes wait, want 1", stage.name, waiting)
		}
	}
	if status, _ := g.api(token); status != http.StatusOK {
		t.Errorf("the person's device is answered %d", status)
	}
	do(t, page, chromedp.Navigate(g.url+"/device/connections"), chromedp.WaitVisible("main h1"))
	if heading := get(t, page, chromedp.Text("main h1")); heading != "Your devices" {
		t.Errorf("the person sees %q: signed out", heading)
	}
}

// A host of its own for the pages is no waste: a script on their own host that can
// have a service worker of the application's, or fill a window with a copy of the
// pages, is beyond what they can do. What it cannot do is be the pages' own worker.
//
// protocol 35
func TestServiceWorkerComesFromNoneOfOurPaths(t *testing.T) {
	t.Parallel()
	g := startBesideOldPages(t)
	for _, path := range []string{"/device/script.js", "/device/style.css", "/device", "/device/confirm",
		"/device/connections"} {
		response, body := g.request("GET", path,
			http.Header{"Service-Worker": {"script"}, "Sec-Fetch-Dest": {"serviceworker"},
				"Sec-Fetch-Mode": {"same-origin"}})
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%s: %d %s", path, response.StatusCode, body)
		}
	}
}

// postsForm has a page post a form, which is a JavaScript object with its action and fields.
func postsForm(t *testing.T, page context.Context, issuer, form string) {
	t.Helper()
	runsIn(t, page, issuer, `const {action, fields} = `+form+`;
		const form = document.createElement("form");
		Object.assign(form, {action, method: "post"});
		for (const [name, value] of Object.entries(fields))
			form.append(Object.assign(document.createElement("input"), {name, value}));
		document.body.append(form);
		form.submit();
		return "posted"`)
}
