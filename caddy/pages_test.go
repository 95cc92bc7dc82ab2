package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// personConfig has a client for each thing that a page can ask for, a second
// upstream that is down, and rules that bob does not match.
const personConfig = `network warn
		upstream away http://localhost:1 {
			name "Elsewhere Inc."
			client_id gateway
		}
		client typed {
			name "Vault Door"
			prefilled off
		}
		client fresh {
			name "Payroll Terminal"
			maker "Ledger & Sons"
			sign_in fresh
		}
		client near {
			name "Office Printer"
			network require
		}
		client owners {
			name "Production Robot"
			allow groups device-owners
		}
		client desktop {
			name "Stock Keeper"
			maker "Ledger & Sons"
			scopes openid profile email offline_access products:read
			redirect http://127.0.0.1/callback https://stock.example.com/callback com.example.stock:/callback
		}
		registration {
			open
			scopes openid offline_access products:read
		}`

// elsewhere is another address of this machine: another network to the gateway.
const elsewhere = "127.0.0.2"

// from returns a client whose requests come from a loopback address.
func from(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context,
		_, to string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(to)
		if err != nil {
			return nil, err
		}
		return dialer.DialContext(ctx, "tcp", "127.0.0.1:"+port)
	}}}
}

// asksFor is a device of a client at an address.
func (g *gateway) asksFor(client, address string) *device {
	g.t.Helper()
	response, err := from(address).PostForm(g.url+"/oauth2/device_authorization", url.Values{"client_id": {client}})
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	d := &device{t: g.t, g: g, client: client}
	if err := json.NewDecoder(response.Body).Decode(d); err != nil || d.User == "" {
		g.t.Fatalf("%s is given no code: %d, %v", client, response.StatusCode, err)
	}
	return d
}

// A viewer looks at pages, with or without JavaScript.
type viewer struct {
	*testing.T
	g    *gateway
	page context.Context
	mode string // for names of pictures
	axe  string // the source of axe-core
}

func newViewer(t *testing.T, g *gateway, script bool) *viewer {
	v := &viewer{T: t, g: g, page: browser(t), mode: "js"}
	if !script {
		v.mode = "plain"
		call(t, v.page, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	}
	source, err := os.ReadFile(filepath.Join(npmFolder(t), "node_modules/axe-core/axe.min.js"))
	if err != nil {
		t.Fatal(err)
	}
	v.axe = string(source)
	return v
}

func call[P, R any](t *testing.T, ctx context.Context, command cdp.Command[P, R], params P) {
	t.Helper()
	do(t, ctx, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, command, params)
		return err
	}))
}

func (v *viewer) open(path string) {
	v.Helper()
	do(v.T, v.page, chromedp.Navigate(v.g.url+path))
}

func (v *viewer) click(what, waitFor string) {
	v.Helper()
	decide(v.T, v.page, what, waitFor)
}

// enter types a code, and submits it where the page does not by itself.
func (v *viewer) enter(code, waitFor string) {
	v.Helper()
	v.open("/device")
	if v.mode == "js" {
		do(v.T, v.page, chromedp.SendKeys("#user_code", strings.ToLower(strings.ReplaceAll(code, "-", ""))),
			chromedp.WaitVisible(waitFor))
		return
	}
	do(v.T, v.page, chromedp.SendKeys("#user_code", code), chromedp.Click("button"), chromedp.WaitVisible(waitFor))
}

var sizes = []struct{ width, height int64 }{{390, 844}, {1280, 800}, {320, 640}}

// looks inspects a page in every size and colour scheme: nothing scrolls
// sideways, and axe-core finds no obstacle to using it. The dark has the
// same layout as the light, so it is inspected in one size, unless pictures are taken.
func (v *viewer) looks(face string) {
	v.Helper()
	pictures := os.Getenv("DEVICEAUTH_SCREENSHOTS") != ""
	for _, scheme := range []string{"light", "dark"} {
		if scheme == "dark" && v.mode != "js" && !pictures {
			continue // what is left to inspect needs JavaScript
		}
		media := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme",
			Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}
		call(v.T, v.page, emulation.SetEmulatedMedia, media)
		for _, size := range sizes {
			if scheme == "dark" && size.width != 390 && !pictures {
				continue
			}
			do(v.T, v.page, chromedp.EmulateViewport(size.width, size.height))
			name := fmt.Sprintf("%s-%s-%s-%d", face, v.mode, scheme, size.width)
			shot(v.T, v.page, name)
			if size.width == 390 {
				v.accessible(name, scheme)
			}
		}
	}
	do(v.T, v.page, chromedp.EmulateViewport(390, 844))
}

// accessible runs axe-core with all its rules but those that the viewport of
// a test makes no sense of; in the dark, which has other colours and nothing else, only that
// of the contrast.
func (v *viewer) accessible(name, scheme string) {
	v.Helper()
	if v.mode != "js" {
		return // axe-core needs JavaScript itself
	}
	do(v.T, v.page, chromedp.Evaluate[chromedp.Void](v.axe))
	rules := `["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]`
	if scheme == "dark" {
		rules = `{type: "rule", values: ["color-contrast"]}`
	}
	found := get(v.T, v.page,
		chromedp.Evaluate[[]string](`axe.run(document, {runOnly: `+rules+`}).then((r) => r.violations.map((v) =>
			v.id + ": " + v.help + " " + v.nodes.map((n) => n.html).join(" ")))`,
			chromedp.EvalAwaitPromise))
	for _, violation := range found {
		v.Errorf("%s: %s", name, violation)
	}
}

// protocol 35, 36, 38, 42
func TestEveryPageIsSound(t *testing.T) {
	t.Parallel()
	for _, script := range []bool{true, false} {
		t.Run(map[bool]string{true: "with JavaScript", false: "without JavaScript"}[script], func(t *testing.T) {
			v := newViewer(t, startWith(t, personConfig), script)
			v.codePages()
			v.questions()
			v.devices()
			v.problems()
			v.languages()
		})
	}
}

// codePages are the way to the question.
func (v *viewer) codePages() {
	if v.mode == "js" { // the gadget is its script
		v.open("/gadget/")
		do(v.T, v.page, chromedp.WaitVisible(`body[data-state="waiting"] #user-code`))
		v.looks("gadget")
	}
	v.open("/device")
	v.looks("code")
	if v.mode == "plain" { // the script takes out what is no part of a code
		do(v.T, v.page, chromedp.SendKeys("#user_code", "!!"), chromedp.Click("button"),
			chromedp.WaitVisible("#problem"))
		v.looks("code-malformed")
	}
	d := v.g.asksFor("cool-gadget", "127.0.0.1")
	v.enter(d.User, ".down")
	v.looks("sign-in")
	v.click(".down a", ".button")
	v.looks("sign-in-unavailable")
	v.open("/device/sign-in")
	v.click("a.button", "#alice")
	v.looks("demo-sign-in")
	v.click("#alice", "#allow")
	v.looks("question")
	v.click("#allow", ".mark.allowed")
	v.looks("allowed")
	if answer := d.poll(); answer.Status != http.StatusOK {
		v.Errorf("the device is answered %+v", answer)
	}
}

// questions are the faces of the question, for somebody who is signed in.
func (v *viewer) questions() {
	v.enter(v.g.asksFor("cool-gadget", elsewhere).User, "#allow")
	v.looks("question-elsewhere")
	v.click("#allow", "#me")
	v.looks("who-started")
	do(v.T, v.page, chromedp.Click("#other"))
	v.click("#go", ".mark.reported")
	v.looks("reported")

	v.enter(v.g.asksFor("cool-gadget", elsewhere).User, "#allow")
	v.click("#allow", "#me")
	v.click("#deny", ".mark.denied")
	v.looks("denied")

	v.enter(v.g.asksFor("near", elsewhere).User, "#deny")
	v.looks("question-refused")

	typed := v.g.asksFor("typed", "127.0.0.1")
	v.open("/device?user_code=" + typed.User)
	v.click("button", "#problem")
	v.looks("code-untyped")
	v.enter(typed.User, "#allow")

	v.enter(v.g.asksFor("fresh", "127.0.0.1").User, "a.button")
	v.looks("sign-in-fresh")
}

// protocol 42, 47, 48, 52
func TestEveryPageOfALoginInTheBrowserIsSound(t *testing.T) {
	t.Parallel()
	for _, script := range []bool{true, false} {
		t.Run(map[bool]string{true: "with JavaScript", false: "without JavaScript"}[script], func(t *testing.T) {
			v := newViewer(t, startWith(t, personConfig), script)
			v.open("/device/sign-in")
			v.click("a.button", "#alice")
			v.click("#alice", "#user_code")
			v.programs()
		})
	}
}

// programs are the faces of a login in the browser of the same computer, for somebody who
// is signed in.
func (v *viewer) programs() {
	l := newCodeLogin(v.T, v.g, "desktop")
	ask := func(redirect, face string) {
		v.Helper()
		l.redirect = redirect
		do(v.T, v.page, chromedp.Navigate(l.address("device_name", "alices-laptop")), chromedp.WaitVisible("#allow"))
		v.looks(face)
	}
	ask("http://127.0.0.1:1/callback", "program-here")
	ask("https://stock.example.com/callback", "program-site")
	ask("com.example.stock:/callback", "program-app")
	v.inEveryLanguage(func(language string) {
		do(v.T, v.page, chromedp.Navigate(l.address("device_name", "alices-laptop")), chromedp.WaitVisible("#allow"))
		shot(v.T, v.page, fmt.Sprintf("program-app-%s-%s", language, v.mode))
	})
	v.click("#allow", "#back") // no program opens such links here, so that the page stays
	v.looks("program-return")

	l.client = v.g.register(`{"client_name":"Agent","redirect_uris":["http://127.0.0.1/callback"],
		"token_endpoint_auth_method":"none","client_uri":"https://agent.example.org"}`).ID
	ask("http://127.0.0.1:1/callback", "program-not-checked")
	v.inEveryLanguage(func(language string) {
		do(v.T, v.page, chromedp.Navigate(l.address()), chromedp.WaitVisible("#allow"))
		shot(v.T, v.page, fmt.Sprintf("program-not-checked-%s-%s", language, v.mode))
	})
	for face, address := range map[string]string{
		"program-unknown":     newCodeLogin(v.T, v.g, "nothing").address(),
		"program-no-way-back": l.address("redirect_uri", "https://evil.example/"),
	} {
		do(v.T, v.page, chromedp.Navigate(address), chromedp.WaitVisible("p[role=alert]"))
		v.looks(face)
	}
	do(v.T, v.page, chromedp.Navigate(newCodeLogin(v.T, v.g, "desktop").address("prompt", "login")),
		chromedp.WaitVisible("a.button"))
	v.looks("program-sign-in")
}

func (v *viewer) devices() {
	v.open("/device/connections")
	v.looks("devices-one")
	d := v.g.asksFor("cool-gadget", "127.0.0.1")
	v.enter(d.User, "#allow")
	v.click("#allow", ".mark.allowed")
	d.poll()
	v.click(`a[href$="/connections"]`, ".devices li + li")
	v.looks("devices-two")
	do(v.T, v.page, chromedp.Click(".naming summary"), chromedp.WaitVisible(naming))
	v.looks("device-naming")
	v.inEveryLanguage(func(language string) {
		v.open("/device/connections")
		do(v.T, v.page, chromedp.Click(".naming summary"), chromedp.WaitVisible(naming))
		shot(v.T, v.page, fmt.Sprintf("device-naming-%s-%s", language, v.mode))
	})
	long := strings.Repeat("Wohnzimmer", 6) // which is never broken by itself
	do(v.T, v.page, chromedp.SendKeys(naming, long+" is cut off"), chromedp.Click(".naming[open] button"),
		chromedp.WaitVisible(named))
	if head := get(v.T, v.page, chromedp.Text(".devices h2")); head != long {
		v.Errorf("the device is called %q, want %q", head, long)
	}
	v.looks("devices-named")
	v.click(`button[value="all"]`, "#none")
	v.looks("devices-none")
}

// The field in which a device is named, and what a device that has a name shows.
const (
	naming = `.naming[open] [name="name"]`
	named  = ".devices h2 + .quiet > bdi"
)

func (v *viewer) problems() {
	v.open("/device/callback?state=x")
	v.looks("sign-in-over")
	v.enter(v.g.asksFor("owners", "127.0.0.1").User, "#allow")
	v.click("button.link", ".button") // another account
	v.click("a.button", "#bob")
	v.click("#bob", "p[role=alert]")
	v.looks("not-permitted")
	for _, last := range "BCDFG" {
		v.enter("BCDF-GHJ"+string(last), "p[role=alert]")
	}
	v.looks("unknown-code")
	v.enter("BCDF-GHJK", "p[role=alert]")
	v.looks("too-many-guesses")
}

// languages fit on the smallest screen.
func (v *viewer) languages() {
	v.inEveryLanguage(func(language string) {
		for name, path := range map[string]string{"code": "/device", "devices": "/device/connections"} {
			v.open(path)
			if lang := get(v.T, v.page, chromedp.AttributeValue("html", "lang")).Value; lang != language {
				v.Errorf("a browser that asks for %s is answered in %s", language, lang)
			}
			shot(v.T, v.page, fmt.Sprintf("%s-%s-%s", name, language, v.mode))
		}
	})
}

// inEveryLanguage has the browser ask for one after the other, on the smallest
// screen, and at last for English.
func (v *viewer) inEveryLanguage(look func(language string)) {
	v.Helper()
	do(v.T, v.page, chromedp.EmulateViewport(320, 640))
	defer do(v.T, v.page, chromedp.EmulateViewport(390, 844))
	files, err := filepath.Glob("../deviceauth/pages/templates/languages/*.json")
	if err != nil || len(files) < 7 {
		v.Fatalf("%v, %v", files, err)
	}
	for _, file := range append(files, "en.json") {
		language := strings.TrimSuffix(filepath.Base(file), ".json")
		call(v.T, v.page, network.SetExtraHTTPHeaders,
			network.SetExtraHTTPHeadersParams{Headers: network.Headers{"Accept-Language": language}})
		look(language)
	}
}

// until returns when an expression is true of the page.
func until(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	for end := time.Now().Add(browserTimeout); !get(t, ctx,
		chromedp.Evaluate[bool](expression)); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			shot(t, ctx, "failed")
			t.Fatalf("never true: %s", expression)
		}
	}
}

// back goes back by one page. A page that Chromium had kept whole is shown again
// without being loaded, so there is no load to wait for, as
// chromedp.NavigateBack does.
func back(t *testing.T, ctx context.Context) {
	t.Helper()
	get(t, ctx, chromedp.Evaluate[bool](`window.left = true; history.back(); true`))
	until(t, ctx, `!window.left && !!document.querySelector("h1")`)
}

// press presses a key until what has the focus matches a selector, and looks
// whether the focus can be seen there.
func press(t *testing.T, ctx context.Context, key, where string) {
	t.Helper()
	for range 30 {
		if get(t, ctx, chromedp.Evaluate[bool](fmt.Sprintf(`!!document.activeElement?.matches(%q)`, where))) {
			if !get(t, ctx,
				chromedp.Evaluate[bool](`document.activeElement.matches(":focus-visible") && `+
					`getComputedStyle(document.activeElement).outlineStyle !== "none"`)) {
				t.Errorf("nobody sees that %s has the focus", where)
			}
			return
		}
		until(t, ctx, awake(where)) // a window that gets the focus back puts decisions to sleep
		do(t, ctx, chromedp.KeyEvent(key))
	}
	shot(t, ctx, "no-focus")
	t.Fatalf("no key leads to %s", where)
}

func TestWholeFlowByKeyboardAlone(t *testing.T) {
	t.Parallel()
	for _, script := range []bool{true, false} {
		t.Run(map[bool]string{true: "with JavaScript", false: "without JavaScript"}[script], func(t *testing.T) {
			g := startWith(t, personConfig)
			page := newViewer(t, g, script).page
			d := g.asksFor("cool-gadget", elsewhere)
			do(t, page, chromedp.Navigate(g.url+"/device"))
			until(t, page, `document.activeElement?.id === "user_code"`)
			do(t, page, chromedp.KeyEvent(d.User))
			if !script {
				do(t, page, chromedp.KeyEvent(kb.Enter))
			}
			do(t, page, chromedp.WaitVisible(".down"))
			press(t, page, kb.Tab, "a.button")
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#alice"))
			for range 10 {
				if get(t, page, chromedp.Evaluate[bool](`!!document.activeElement?.matches("#alice")`)) {
					break
				}
				do(t, page, chromedp.KeyEvent(kb.Tab))
			}
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#allow"))
			until(t, page, awake("#allow"))
			press(t, page, kb.Tab, "#allow")
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#me"))
			until(t, page, awake("#go"))
			press(t, page, kb.Tab, `[name="started"]`)
			press(t, page, kb.ArrowDown, "#me:checked")
			press(t, page, kb.Tab, "#go")
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(".mark.allowed"))
			if answer := d.poll(); answer.Status != http.StatusOK {
				t.Errorf("the device is answered %+v", answer)
			}
			press(t, page, kb.Tab, `a[href$="/connections"]`)
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(".devices"))
			press(t, page, kb.Tab, ".naming summary")
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible(naming))
			press(t, page, kb.Tab, naming)
			do(t, page, chromedp.KeyEvent("Living room"+kb.Enter), chromedp.WaitVisible(named))
			press(t, page, kb.Tab, disconnects)
			do(t, page, chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#none"))
		})
	}
}

// What is pasted may have spaces, small letters and any dash; the boxes show
// it, and the page goes on.
func TestCodeIsPastedWhole(t *testing.T) {
	t.Parallel()
	g := start(t)
	page := browser(t)
	for _, spell := range []func(string) string{
		strings.ToLower,
		func(code string) string { return " " + strings.ReplaceAll(code, "-", " \u2013 ") + "\n" },
		func(code string) string { return strings.ReplaceAll(code, "-", "") },
	} {
		d := g.device()
		do(t, page, chromedp.Navigate(g.url+"/device"), chromedp.WaitVisible(".boxed .box.next"))
		call(t, page, input.InsertText, input.InsertTextParams{Text: spell(d.User)})
		do(t, page, chromedp.WaitVisible("#alice, #allow"))
		if get(t, page, chromedp.Evaluate[bool](`!!document.querySelector("#alice")`)) {
			do(t, page, chromedp.Click("#alice"), chromedp.WaitVisible("#allow"))
		}
		if code := get(t, page, chromedp.Text("#code")); code != d.User {
			t.Errorf("the page asks about %s, want %s", code, d.User)
		}
		decide(t, page, "#deny", ".mark.denied")
	}
	// A code that is typed half shows its letters, and where the next one goes.
	do(t, page, chromedp.Navigate(g.url+"/device"), chromedp.WaitVisible(".boxed .box.next"),
		chromedp.KeyEvent("bcdfg"))
	shown := get(t, page,
		chromedp.Evaluate[string](`[...document.querySelectorAll(".box")].map((b) => b.classList.contains("next") ? `+
			`"_" : b.textContent || ".").join("")`))
	if value := get(t, page, chromedp.Value("#user_code")); shown != "BCDFG_.." || value != "BCDF-G" {
		t.Errorf("the boxes show %s, the field holds %s", shown, value)
	}
	forced := func(value string) {
		call(t, page, emulation.SetEmulatedMedia,
			emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "forced-colors", Value: value}}})
	}
	forced("active")
	// or the code would be there twice, one over the other
	until(t, page, `getComputedStyle(document.querySelector(".boxes")).display === "none"`)
	shot(t, page, "forced-colours")
	forced("none")
	until(t, page, `getComputedStyle(document.querySelector(".boxes")).display !== "none"`)
	do(t, page, chromedp.Evaluate[chromedp.Void](`{
		const at = document.querySelectorAll(".box")[4].getBoundingClientRect();
		user_code.setSelectionRange(0, 0);
		user_code.dispatchEvent(new MouseEvent("click", {bubbles: true, clientX: at.left + 2}));
	}`), chromedp.KeyEvent("k"))
	if value := get(t, page, chromedp.Value("#user_code")); strings.ToUpper(value) != "BCDF-K" {
		t.Errorf("after a click on the fifth box and a letter the field holds %s", value)
	}
}
