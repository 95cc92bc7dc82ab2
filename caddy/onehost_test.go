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

// oldWorker is the script of a service worker that an old application serves from
// its root. It answers for the pages, which lie below.
const oldWorker = `
	addEventListener("install", () => skipWaiting());
	addEventListener("activate", (event) => event.waitUntil(registration.navigationPreload.enable()));
	addEventListener("fetch", (event) => {
		if (event.request.method !== "GET" || !event.request.url.endsWith("/device/confirm")) return;
		event.respondWith((async () => {
			const page = await event.preloadResponse.then((r) => r.text());
			const ticket = /name="ticket" value="([^"]+)"/.exec(page)?.[1];
			if (!ticket) return new Response("<h1>kept out</h1>", {headers: {"Content-Type": "text/html"}});
			return new Response("<form method=post action=/device/confirm><input name=ticket value=" + ticket +
				"><input name=answer value=allow></form><script>document.forms[0].submit()</script>",
				{headers: {"Content-Type": "text/html"}});
		})());
	});`

// oldApplication has a page, one with the opener policy that the pages have, as
// common middleware sets it, one with their embedder policy too, and the script of a
// service worker.
func oldApplication(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/old/worker.js":
			w.Header().Set("Content-Type", "text/javascript")
			w.Header().Set("Service-Worker-Allowed", "/")
			fmt.Fprint(w, oldWorker)
			return
		case "/old/isolated":
			w.Header().Set("Cross-Origin-Embedder-Policy", "credentialless")
			fallthrough
		case "/old/opener":
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		}
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>old</title><link rel=icon href=data:,><h1>old</h1>")
	}))
	t.Cleanup(server.Close)
	return server
}

// startInOneHost runs a gateway that has the pages and an old application on one host.
func startInOneHost(t *testing.T, old *httptest.Server) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "\tbrand", "\twait off\n\t\tbrand", 1)
		proxy := "\treverse_proxy /old/* " + strings.TrimPrefix(old.URL, "http://") + "\n"
		return strings.Replace(s, "\tredir / /gadget/", proxy+"\tredir / /gadget/", 1)
	})
	g.start()
	return g
}

// lured is a browser whose person is signed in and looks at the question about an
// attacker's device.
func lured(t *testing.T, g *gateway) (page context.Context, lure *device) {
	t.Helper()
	page, lure = evilBrowser(t), g.device()
	do(t, page, chromedp.Navigate(lure.Full), chromedp.Click("main button"), chromedp.WaitVisible("#alice"))
	do(t, page, chromedp.Click("#alice"), chromedp.WaitVisible("#allow"))
	return page, lure
}

// clicksInAWindow opens the question and clicks as soon as the button is awake.
const clicksInAWindow = `
	let clicked = false;
	const opened = open(ISSUER + "/device/confirm");
	for (let i = 0; i < 200 && !opened.closed; i++) {
		await new Promise((done) => setTimeout(done, 50));
		try {
			const button = opened.document.querySelector("#allow");
			if (opened.document.readyState !== "complete" || button.getAttribute("aria-disabled") === "true") continue;
			button.click();
			clicked = true;
		} catch {}
	}
	return opened.closed && !clicked ? "kept out" : "clicked"`

// An opener keeps the window where both have the same opener and embedder policies
// and the same origin (HTML §7.1.3). So a page of another origin is kept out whatever
// its policies say. A page on the pages' own origin is not, where the application sets
// both: that is why the issuer is to have a host of its own.
//
// protocol 35
func TestOpenerWithThePagesPolicyNeedsTheirOrigin(t *testing.T) {
	t.Parallel()
	old := oldApplication(t)
	g := startInOneHost(t, old)
	page, lure := lured(t, g)
	for _, address := range []string{old.URL, strings.Replace(old.URL, "127.0.0.1", "localhost", 1)} {
		do(t, page, chromedp.Navigate(address+"/old/isolated"), chromedp.WaitVisible("h1"))
		if outcome := runsIn(t, page, g.url, clicksInAWindow); outcome != "kept out" {
			t.Errorf("%s: %s", address, outcome)
		}
		lure.pending(address)
	}
	for _, path := range []string{"/old/", "/old/opener"} {
		do(t, page, chromedp.Navigate(g.url+path), chromedp.WaitVisible("h1"))
		if outcome := runsIn(t, page, g.url, clicksInAWindow); outcome != "kept out" {
			t.Errorf("the same origin, without both policies: %s: %s", path, outcome)
		}
		lure.pending(path)
	}
	// What remains, as the security model says.
	do(t, page, chromedp.Navigate(g.url+"/old/isolated"), chromedp.WaitVisible("h1"))
	if outcome := runsIn(t, page, g.url, clicksInAWindow); outcome != "clicked" {
		t.Errorf("the same origin and policy: %s: docs/security.md says that this is a way", outcome)
	}
	if answer := lure.poll(); answer.Status != http.StatusOK {
		t.Errorf("the same origin and policy: the device is answered %+v", answer)
	}
}

// A service worker of the application can have any page of its origin come through
// it. One of another origin cannot.
//
// protocol 35
func TestWorkerOfTheApplicationNeedsThePagesOrigin(t *testing.T) {
	t.Parallel()
	const registers = `
		await navigator.serviceWorker.register("/old/worker.js", {scope: "/"});
		await navigator.serviceWorker.ready;
		return "registered"`
	old := oldApplication(t)
	g := startInOneHost(t, old)
	page, lure := lured(t, g)
	goes := func(address, waitFor string) {
		t.Helper()
		do(t, page, chromedp.Navigate(address+"/old/"), chromedp.WaitVisible("h1"))
		if outcome := runsIn(t, page, g.url, registers); outcome != "registered" {
			t.Fatalf("%s: %s", address, outcome)
		}
		do(t, page, chromedp.Navigate(g.url+"/device/confirm"), chromedp.WaitVisible(waitFor))
	}
	for _, address := range []string{old.URL, strings.Replace(old.URL, "127.0.0.1", "localhost", 1)} {
		goes(address, "#allow")
		lure.pending(address)
	}
	// What remains, as the security model says.
	goes(g.url, ".mark.allowed")
	if answer := lure.poll(); answer.Status != http.StatusOK {
		t.Errorf("a worker of the same origin, a way by docs/security.md: the device is answered %+v", answer)
	}
}
