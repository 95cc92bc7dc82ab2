package main

import (
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// desktop is a client for logins in the browser.
const desktop = `client desktop {
			name "Stock Keeper"
			scopes openid profile offline_access products:read
			redirect http://127.0.0.1/callback https://stock.example.com/callback
		}
		client other {
			redirect http://127.0.0.1/callback
		}`

const stockKeeper = "Connect Stock Keeper?"

// The attacks of RFC 9700 §4 and RFC 8252 §8 on one gateway.
//
// protocol 46, 47, 48, 49
func TestAttacksOnLoginsInTheBrowser(t *testing.T) {
	t.Parallel()
	g := startWith(t, desktop)
	t.Run("manipulated redirect URIs, RFC 9700 4.1", func(t *testing.T) { manipulatedRedirects(t, g) })
	t.Run("no code in a Referer, RFC 9700 4.2", func(t *testing.T) { referrers(t, g) })
	t.Run("mix-up, RFC 9700 4.4", func(t *testing.T) {
		l := newCodeLogin(t, g, "desktop")
		l.allow(stockKeeper) // which wants the issuer in the answer (RFC 9207)
	})
	t.Run("injected codes, RFC 9700 4.5", func(t *testing.T) { injectedCodes(t, g) })
	t.Run("PKCE downgrade, RFC 9700 4.8", func(t *testing.T) { downgrades(t, g) })
	t.Run("open redirects, RFC 9700 4.11", func(t *testing.T) { openRedirects(t, g) })
	t.Run("replayed in parallel, RFC 6749 4.1.2", func(t *testing.T) { replayed(t, g) })
	t.Run("a client that plays another, RFC 8252 8.6", func(t *testing.T) {
		alice := newPerson(t, "alice")
		for range 2 { // the question is asked each time, also of a program that was allowed
			newCodeLogin(t, g, "desktop").answers(alice, stockKeeper, "allow")
		}
	})
}

func manipulatedRedirects(t *testing.T, g *gateway) {
	p := newPerson(t, "alice")
	for _, uri := range []string{
		"http://127.0.0.1:1/callback/", "http://127.0.0.1:1/callback/../evil", "http://127.0.0.1:1/callback?x=y",
		"http://127.0.0.1:1/callback#x", "http://127.0.0.1:1@evil.example/callback",
		"http://127.0.0.1.evil.example/callback",
		"http://localhost.evil.example/callback", "http://localhost:1/callback", "http://[::1]:1/callback",
		"http://127.0.0.1:1\\@evil.example/callback", "http://127.0.0.1:999999/callback", "http://0x7f.0.0.1/callback",
		"https://127.0.0.1:1/callback", "https://stock.example.com:8443/callback",
		"https://stock.example.com/callback/x",
		"https://stock.example.com/callback%2f", "https://stock.example.com/Callback",
		"https://x@stock.example.com/callback",
		"https://stock.example.com.evil.example/callback", "https://stock.example.com%2eevil.example/callback",
		"//stock.example.com/callback", "javascript:alert(1)", "data:text/html,x", "http://stock.example.com/callback",
	} {
		p.open(newCodeLogin(t, g, "desktop").address("redirect_uri", uri))
		p.sees("The way back is not known here")
		if strings.Contains(p.page, "evil") || strings.Contains(p.page, "javascript:") {
			t.Errorf("%s is on the page", uri)
		}
	}
}

func referrers(t *testing.T, g *gateway) {
	p := newPerson(t, "alice")
	l := newCodeLogin(t, g, "desktop")
	p.open(l.address())
	p.submit("/login", "user", "alice")
	p.stay = true
	p.submit("/device/confirm", "answer", "allow")
	code := regexp.MustCompile(`ac_[A-Za-z0-9_-]{60,}`).FindString(p.page)
	if code == "" || strings.Contains(p.at.String(), code) {
		t.Errorf("the code %q: want it on the page and not in the address %s", code, p.at)
	}
	response, err := p.http.Get(p.at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	h := response.Header
	if h.Get("Referrer-Policy") != "no-referrer" || h.Get("Cache-Control") != "no-store" ||
		!strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
		t.Errorf("%v", h)
	}
}

func injectedCodes(t *testing.T, g *gateway) {
	for name, changes := range map[string][]string{
		"another verifier":     {"code_verifier", strings.Repeat("x", 50)},
		"no verifier":          {"code_verifier", ""},
		"another client":       {"client_id", "other"},
		"another port":         {"redirect_uri", "http://127.0.0.1:2/callback"},
		"another redirect URI": {"redirect_uri", "https://stock.example.com/callback"},
		"no redirect URI":      {"redirect_uri", ""},
		"a secret":             {"client_secret", "x"},
	} {
		l := newCodeLogin(t, g, "desktop")
		l.allow(stockKeeper)
		if answer := l.exchange(changes...); answer.Access != "" || answer.Status/100 != 4 {
			t.Errorf("%s: %+v", name, answer)
		}
		if answer := l.exchange(); answer.Access == "" { // what was wrong has changed nothing
			t.Errorf("%s: then %+v", name, answer)
		}
	}
}

func downgrades(t *testing.T, g *gateway) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for name, changes := range map[string][]string{
		"plain":          {"code_challenge_method", "plain"},
		"no method":      {"code_challenge_method", ""},
		"no challenge":   {"code_challenge", ""},
		"short":          {"code_challenge", "x"},
		"implicit":       {"response_type", "token"},
		"hybrid":         {"response_type", "code id_token"},
		"form_post":      {"response_mode", "form_post"},
		"another method": {"code_challenge_method", "S512"},
	} {
		response, err := client.Get(newCodeLogin(t, g, "desktop").address(changes...))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		to, err := url.Parse(response.Header.Get("Location"))
		if err != nil || to.Host != "127.0.0.1:1" || to.Query().Get("error") == "" || to.Query().Has("code") {
			t.Errorf("%s: %s, %v", name, to, err)
		}
	}
}

func openRedirects(t *testing.T, g *gateway) {
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, path := range []string{
		"/device/return?of=https://evil.example", "/device/return?of=", "/device/done?of=x",
		"/oauth2/authorize?redirect_uri=https://evil.example",
		"/oauth2/authorize?client_id=desktop&redirect_uri=//evil.example",
		"//evil.example/oauth2/authorize",
	} {
		response, err := client.Get(g.url + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if strings.Contains(response.Header.Get("Location"), "evil") || strings.Contains(string(body), "evil") {
			t.Errorf("%s: %s", path, response.Header.Get("Location"))
		}
	}
}

func replayed(t *testing.T, g *gateway) {
	l := newCodeLogin(t, g, "desktop")
	l.allow(stockKeeper)
	var given atomic.Int32
	var won tokens
	var all sync.WaitGroup
	for range 64 {
		all.Go(func() {
			answer := l.exchange()
			switch {
			case answer.Status == http.StatusOK:
				given.Add(1)
				won = answer
			case answer.Error != "invalid_grant":
				t.Errorf("%+v", answer)
			}
		})
	}
	all.Wait()
	if given.Load() != 1 {
		t.Fatalf("%d of 64 were given tokens", given.Load())
	}
	if status, _ := g.api(won.Access); status != http.StatusUnauthorized {
		t.Errorf("after a replay the API answers %d", status)
	}
	if again := l.g.refreshAs("desktop", won.Refresh); again.Error != "invalid_grant" {
		t.Errorf("after a replay the refresh is answered %+v", again)
	}
	if g.audited("token_replayed") == nil {
		t.Error("the audit log has no replay")
	}
}

// startBehindProxy is a gateway that believes a proxy who asks, with a client for
// programs on the person's computer and further lines in its device_login block.
func startBehindProxy(t *testing.T, lines string) (*gateway, *idptest.Provider) {
	t.Helper()
	idp := idptest.Start()
	t.Cleanup(idp.Close)
	g := newGateway(t)
	g.configure(func(s string) string {
		s = behindProxy("\t\ttrusted_proxies_strict\n")(at(idp, "")(s))
		return strings.Replace(s, "\tbrand", lines+"\n\t\t"+desktop+"\n\t\tbrand", 1)
	})
	g.start()
	return g, idp
}

// ConsentFix: the attacker begins a login, so that the verifier is theirs, and has the
// victim hand over the address that the browser was sent to. They exchange the code from
// where they are.
//
// protocol 50
func TestHandedOverCodeWinsNothingWhereTheNetworkIsRequired(t *testing.T) {
	t.Parallel()
	g, idp := startBehindProxy(t, "network require\n\t\tnat64 2001:db8:64::/96")
	for i, a := range attackers {
		if strings.Contains(a.name, "two families") {
			continue // the homes of the device flow's test
		}
		victim := signedInFrom(t, g, idp, "victim "+string(rune('a'+i)), a.victim)
		won := 0
		for range *victims {
			l := newCodeLogin(t, g, "desktop")
			l.answers(victim, stockKeeper, "allow")
			from := a.attacker
			if a.claimed != "" {
				from = a.claimed + ", " + a.attacker
			}
			if answer := l.exchangeFrom(from); answer.Access != "" {
				won++
			}
			if answer := l.exchangeFrom(a.victim); answer.Error != "invalid_grant" {
				t.Errorf("%s: the grant is not ended: %+v", a.name, answer)
			}
		}
		if won > 0 {
			t.Errorf("%s: %d of %d", a.name, won, *victims)
		}
	}
	if event := g.audited("grant_revoked"); event["reason"] != "other_network" {
		t.Errorf("the audit log has %v", event)
	}
	for i, h := range honest {
		if strings.Contains(h.name, "televi") {
			continue
		}
		l := newCodeLogin(t, g, "desktop")
		l.answers(signedInFrom(t, g, idp, "person "+string(rune('a'+i)), h.person), stockKeeper, "allow")
		if answer := l.exchangeFrom(h.device); answer.Access == "" {
			t.Errorf("%s: %+v", h.name, answer)
		}
	}
}
