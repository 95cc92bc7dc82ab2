package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// browser starts a Chromium with a profile of its own. Whatever its pages
// complain about on the console fails the test.
func browser(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), chromium(t)...)
	t.Cleanup(cancel)
	return tab(t, ctx)
}

// chromium is how a Chromium is started here.
func chromium(t *testing.T) []chromedp.ExecAllocatorOption {
	t.Helper()
	path := needs.Program(t, "chromium", "chromium", "chromium-browser", "google-chrome")
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path),
		chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox)
	for _, flag := range []string{"disable-gpu", "disable-quic", "disable-background-networking",
		"disable-component-update", "disable-sync"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	return options
}

// tab opens a page beside the others.
func tab(t *testing.T, ctx context.Context) context.Context {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	err := chromedp.Listen(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("exception: %s", e.ExceptionDetails.Text)
		case *log.EventEntryAdded:
			// Chromium mentions every 4xx and 503, also those that are meant: a
			// poll that is pending, a page that says what is wrong.
			meant := strings.HasPrefix(e.Entry.Text, "Failed to load resource: the server responded with a status of ")
			if strings.HasPrefix(e.Entry.Text,
				"Autofocus processing was blocked because a document already has a focused element") {
				return // the test typed before the page was first drawn, as no person can
			}
			page := strings.Contains(e.Entry.URL, "/device") || strings.Contains(e.Entry.URL, "/oauth2/authorize?")
			if !meant || !strings.HasSuffix(e.Entry.URL, "/oauth2/token") && !page ||
				strings.HasSuffix(e.Entry.URL, ".css") || strings.HasSuffix(e.Entry.URL, ".js") {
				t.Errorf("console: %s %s", e.Entry.Text, e.Entry.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	do(t, ctx, chromedp.EmulateViewport(390, 844),
		chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
			return err
		}))
	return ctx
}

// browserTimeout is how long a page may take to come to what a test waits for.
const browserTimeout = 30 * time.Second

func do(t *testing.T, ctx context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, browserTimeout)
	defer cancel()
	if err := chromedp.Do(limited, steps...); err != nil {
		shot(t, ctx, "failed")
		t.Fatal(err)
	}
}

func get[T any](t *testing.T, ctx context.Context, what chromedp.Action[T]) T {
	t.Helper()
	limited, cancel := context.WithTimeout(ctx, browserTimeout)
	defer cancel()
	value, err := chromedp.Run(limited, what)
	if err != nil {
		shot(t, ctx, "failed")
		t.Fatal(err)
	}
	return value
}

// shot takes a picture for people to look at, where DEVICEAUTH_SCREENSHOTS
// names a folder; and no page may scroll sideways.
func shot(t *testing.T, ctx context.Context, name string) {
	t.Helper()
	wide, err := chromedp.Run(ctx, chromedp.Evaluate[bool](`document.documentElement.scrollWidth > innerWidth`))
	if err != nil {
		t.Logf("%s: no screenshot: %v", name, err)
		return
	}
	if wide {
		t.Errorf("%s scrolls sideways", name)
	}
	if dir := os.Getenv("DEVICEAUTH_SCREENSHOTS"); dir != "" {
		png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
		if err == nil {
			err = os.MkdirAll(dir, 0o700)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "-")+"-"+name+".png"), png, 0o600)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// awake is whether a button can be pressed: those of a decision sleep for half a
// second after their page shows.
func awake(button string) string {
	return fmt.Sprintf(`document.readyState === "complete" && `+
		`document.querySelector(%q)?.getAttribute("aria-disabled") !== "true"`, button)
}

// disconnects is the button that cuts off the first device of a person.
const disconnects = `.devices [name="device"]:not([type])`

// decide presses a button of a decision.
func decide(t *testing.T, ctx context.Context, button, waitFor string) {
	t.Helper()
	until(t, ctx, awake(button))
	do(t, ctx, chromedp.Click(button), chromedp.WaitVisible(waitFor))
}

// openGadget opens the gadget's page and a second tab on the page it points to.
func openGadget(t *testing.T, g *gateway) (gadget, phone context.Context) {
	t.Helper()
	gadget = browser(t)
	do(t, gadget, chromedp.Navigate(g.url+"/gadget/"), chromedp.WaitVisible(`body[data-state="waiting"] #user-code`))
	link, code := get(t, gadget, chromedp.AttributeValue("#open", "href")).
		Value, get(t, gadget, chromedp.Text("#user-code"))
	shot(t, gadget, "gadget-waiting")
	phone = tab(t, gadget)
	do(t, phone, chromedp.Navigate(link))
	if typed := get(t, phone, chromedp.Value("#user_code")); typed != code {
		t.Errorf("the page has %q filled in, the gadget shows %q", typed, code)
	}
	shot(t, phone, "code")
	return gadget, phone
}

// signIn goes from the code page to the question.
func signIn(t *testing.T, phone context.Context, user string) {
	t.Helper()
	do(t, phone, chromedp.Click("button"), chromedp.WaitVisible("#"+user))
	shot(t, phone, "sign-in")
	do(t, phone, chromedp.Click("#"+user), chromedp.WaitVisible("#allow"))
	shot(t, phone, "confirm")
}

// protocol 35, 37, 45
func TestPersonAllowsInABrowserAndTheGadgetChangesByItself(t *testing.T) {
	t.Parallel()
	g := start(t)
	gadget, phone := openGadget(t, g)
	signIn(t, phone, "alice")
	decide(t, phone, "#allow", ".mark.allowed")
	shot(t, phone, "done")
	do(t, gadget, chromedp.WaitVisible(`body[data-state="signed-in"] #products li`))
	person, products, seen := get(t, gadget, chromedp.Text("#person")), get(t, gadget, chromedp.Text("#products")),
		get(t, gadget, chromedp.Text("#seen"))
	shot(t, gadget, "gadget-signed-in")
	if person != "Alice Example" || !strings.Contains(products, "Chai") ||
		!strings.Contains(seen, "alice@example.com") {
		t.Errorf("the gadget greets %q, lists %q, and the API saw %q", person, products, seen)
	}
	do(t, phone, chromedp.Click(`a[href$="/device/connections"]`), chromedp.WaitVisible(disconnects))
	shot(t, phone, "devices")
	do(t, phone, chromedp.Click(disconnects), chromedp.WaitVisible("#none"))
	do(t, gadget, chromedp.Click("#sign-out"), chromedp.WaitVisible(`body[data-state="waiting"] #user-code`))
}

func TestPersonDeniesInABrowserAndTheGadgetIsTold(t *testing.T) {
	t.Parallel()
	g := start(t)
	d := g.device()
	gadget, phone := openGadget(t, g)
	signIn(t, phone, "bob")
	decide(t, phone, "#deny", ".mark.denied")
	shot(t, phone, "done")
	do(t, gadget, chromedp.WaitVisible(`body[data-state="denied"] #again`))
	shot(t, gadget, "gadget-denied")
	// The same browser, and a device that reads its answers.
	do(t, phone, chromedp.Navigate(d.Full), chromedp.Click("button"), chromedp.WaitVisible("#deny"))
	decide(t, phone, "#deny", ".mark.denied")
	if answer := d.poll(); answer.Status != http.StatusBadRequest || answer.Error != "access_denied" {
		t.Errorf("the device is told %+v, want access_denied", answer)
	}
	// A code typed by hand submits itself when it is whole, and a wrong one is told nothing but that.
	do(t, phone, chromedp.Navigate(g.url+"/device"), chromedp.SendKeys("#user_code", "bcdfghjk"),
		chromedp.WaitVisible("p[role=alert]"))
	shot(t, phone, "wrong-code")
}
