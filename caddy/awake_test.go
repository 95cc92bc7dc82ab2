package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// A click that was meant for what was there before decides nothing: the buttons
// sleep for half a second after their page shows.
//
// protocol 38
func TestClickInTheFirstHalfSecondDecidesNothing(t *testing.T) {
	t.Parallel()
	g := startWith(t, "wait off")
	d := g.device()
	page := browser(t)
	do(t, page, chromedp.Navigate(d.Full), chromedp.Click("button"), chromedp.WaitVisible("#alice"))
	do(t, page, chromedp.Click("#alice"), chromedp.WaitVisible("#allow"))
	for _, button := range []string{"#allow", "#deny"} {
		early := fmt.Sprintf(`new Promise((done) => {
			window.dispatchEvent(new PageTransitionEvent("pageshow"));
			const button = document.querySelector(%q), began = performance.now();
			button.click();
			button.dispatchEvent(new PointerEvent("pointerdown")); // which ends too late
			const look = () => {
				if (button.getAttribute("aria-disabled") === "true") return setTimeout(look, 5);
				const slept = performance.now() - began;
				button.click();
				done(slept);
			};
			look();
		})`, button)
		if slept := get(t, page, chromedp.Evaluate[float64](early, chromedp.EvalAwaitPromise)); slept < 480 {
			t.Errorf("%s sleeps for %v ms", button, slept)
		}
		if at := get(t, page, chromedp.Location()); !strings.HasSuffix(at, "/device/confirm") {
			t.Errorf("after a click on %s that was too early the page is %s", button, at)
		}
		d.pending("a click that was too early")
	}
	decide(t, page, "#allow", ".mark.allowed")
	if answer := d.poll(); answer.Status != http.StatusOK {
		t.Errorf("after a click in time: %+v", answer)
	}
}

// A window that comes to the front puts the buttons to sleep, and takes the focus
// from none of them: whoever comes back by the keyboard goes on where they were.
func TestKeyboardIsNotLostWhenTheWindowComesBack(t *testing.T) {
	t.Parallel()
	g := startWith(t, personConfig)
	d := g.asksFor("cool-gadget", elsewhere)
	page := browser(t)
	do(t, page, chromedp.Navigate(d.Full), chromedp.Click("button"), chromedp.WaitVisible(".down"))
	do(t, page, chromedp.Click("a.button"), chromedp.WaitVisible("#alice"))
	do(t, page, chromedp.Click("#alice"), chromedp.WaitVisible("#allow"))
	// comesBack keeps the page asleep while keys are pressed.
	comesBack := func(focused string, keys ...string) {
		t.Helper()
		do(t, page, chromedp.Evaluate[chromedp.Void](`{
			const back = () => window.dispatchEvent(new FocusEvent("focus"));
			back();
			window.coming = setInterval(back, 20);
			window.sent = false;
			addEventListener("submit", (event) => { window.sent ||= !event.defaultPrevented; });
		}`))
		for _, key := range keys {
			do(t, page, chromedp.KeyEvent(key))
		}
		still := `document.activeElement.matches(%q) && !sent && !!document.querySelector(".answers ` +
			`[aria-disabled=true]")`
		if !get(t, page, chromedp.Evaluate[bool](fmt.Sprintf(still, focused))) {
			t.Errorf("asleep, %s has lost the focus, or has decided", focused)
		}
		do(t, page, chromedp.Evaluate[chromedp.Void](`clearInterval(coming)`))
		d.pending("a key that was too early")
		until(t, page, awake(".answers button"))
	}
	press(t, page, kb.Tab, "#allow")
	comesBack("#allow", kb.Enter, " ")
	do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#me"))
	until(t, page, awake("#go"))
	press(t, page, kb.Tab, `[name="started"]`)
	press(t, page, kb.ArrowDown, "#me:checked")
	comesBack("#me", kb.Enter) // which would press a button that it does not stand on
	press(t, page, kb.Tab, "#go")
	comesBack("#go", kb.Enter)
	do(t, page, chromedp.KeyEvent(" "), chromedp.WaitVisible(".mark.allowed"))
	if answer := d.poll(); answer.Status != http.StatusOK {
		t.Errorf("the device is answered %+v", answer)
	}
}
