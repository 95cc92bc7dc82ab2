package main

import (
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// dexConfig is dex as it comes, with its own accounts in memory. Both have the
// password "password".
const dexConfig = `issuer: ISSUER
storage: {type: memory}
web: {http: ADDRESS}
staticClients:
- {id: gateway, name: Gateway, secret: only-for-this-test, redirectURIs: [CALLBACK]}
connectors:
- {type: mockCallback, id: mock, name: Example}
enablePasswordDB: true
staticPasswords:
- {email: alice@example.com,
  username: alice, userID: a1,
  hash: "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W"}
- {email: bob@example.com,
  username: bob, userID: b1,
  hash: "$2a$10$2b2cU8CPhOTaGrs1HRQuAueS7JTT5ZHsHSzYiFPm1leZck7Mc8T4W"}
`

// startDex runs the dex in the path, and returns its issuer URL.
func startDex(t *testing.T, callback string) (issuer string) {
	t.Helper()
	binary := needs.Program(t, "dex", "dex")
	address := "127.0.0.1:" + loadtest.FreePorts(1)[0]
	issuer = "http://" + address + "/dex"
	config := filepath.Join(t.TempDir(), "dex.yaml")
	text := strings.NewReplacer("ISSUER", issuer, "ADDRESS", address, "CALLBACK", callback).Replace(dexConfig)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", config)
	var output strings.Builder
	cmd.Stderr = &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(output.String())
		}
	})
	awaitHTTP(t, issuer+"/.well-known/openid-configuration")
	return issuer
}

// awaitHTTP returns when a server answers.
func awaitHTTP(t *testing.T, address string) {
	t.Helper()
	for tick := time.Tick(50 * time.Millisecond); ; <-tick {
		if response, err := http.Get(address); err == nil {
			response.Body.Close()
			return
		}
		if t.Context().Err() != nil {
			t.Fatal("the server never answers")
		}
	}
}

// dexSignsIn goes through dex's pages: the way to sign in, the form, the consent.
func (p *person) dexSignsIn() {
	p.t.Helper()
	if strings.Contains(p.page, "/auth/local") {
		link, _, _ := strings.Cut(p.page[strings.Index(p.page, "/dex/auth/local"):], `"`)
		p.open(html.UnescapeString(link))
	}
	if !strings.Contains(p.page, `name="password"`) {
		p.t.Fatalf("this is no sign-in, at %s:\n%s", p.at, p.page)
	}
	p.submit("", "login", p.user+"@example.com", "password", "password")
	if strings.Contains(p.page, `name="approval"`) {
		p.submit("", "approval", "approve")
	}
}

// protocol 23, 37
func TestDexSignsPeopleIn(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.signsInAt(startDex(t, g.url+"/device/callback"), "\t\t\trevalidate\n", "")
	g.start()
	alice, d := newPerson(t, "alice"), g.device()
	alice.begins(d)
	alice.dexSignsIn()
	alice.sees("Connect Cool Gadget?")
	alice.submit("/device/sign-out")
	alice.open("/device/sign-in?switch=1&with=other")
	alice.user = "bob"
	alice.dexSignsIn()
	alice.sees("Connect Cool Gadget?")
	alice.submit("/device/confirm", "answer", "allow")
	alice.sees("is connected")
	first := d.poll()
	if status, body := g.api(first.Access); status != http.StatusOK ||
		!strings.Contains(body, `"Remote-Email": "bob@example.com"`) {
		t.Errorf("the backend is told: %d %s", status, body)
	}
	second := g.refresh(first.Refresh)
	if third := g.refresh(second.Refresh); second.Status != http.StatusOK || third.Status != http.StatusOK {
		t.Errorf("the refreshes are answered %+v, %+v:\n%s", second, third, g.log)
	}
}

// dex tells no auth_time, so that a sign-in is never known to be fresh: people
// are told so, and are not sent round in circles.
//
// protocol 41
func TestDexCannotSignInAnew(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.signsInAt(startDex(t, g.url+"/device/callback"), "", "\t\t\tsign_in fresh\n")
	g.start()
	alice := newPerson(t, "alice")
	alice.begins(g.device())
	alice.dexSignsIn()
	alice.sees("Sign in again")
	alice.open("/device/sign-in?fresh=1&with=other")
	alice.dexSignsIn()
	alice.sees("You are not signed in")
	if !strings.Contains(alice.page, "Trying again does not help") {
		t.Errorf("alice is not told:\n%s", alice.page)
	}
	if !strings.Contains(g.log.String(), "claims_supported") {
		t.Errorf("the operator is not told:\n%s", g.log)
	}
}
