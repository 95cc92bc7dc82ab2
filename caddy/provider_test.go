package main

import (
	"bufio"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// A provider is npm's oidc-provider, an authorization server that knows nothing
// of ours. Its access tokens live for half a minute, so that every call of the
// terminal client has to refresh.
type provider struct {
	*gateway // for its directories and commands; it is not started
	url      string
}

func startProvider(t *testing.T) *provider {
	t.Helper()
	return &provider{gateway: newGateway(t), url: runProvider(t)}
}

// runProvider runs a provider until the test ends, and returns its issuer URL.
func runProvider(t *testing.T, redirectURI ...string) string {
	t.Helper()
	folder, port := npmFolder(t), loadtest.FreePorts(1)[0]
	cmd := exec.Command("node", append([]string{filepath.Join(folder, "oidc-provider.mjs"), port}, redirectURI...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "listening\n" {
		t.Fatalf("the provider says %q, %v", line, err)
	}
	return "http://localhost:" + port
}

// login runs the terminal client. Scopes have to be named: this server has
// none that a client gets by itself.
func (p *provider) login(answer func(*device), args ...string) (string, error) {
	p.t.Helper()
	return p.loginAt(p.url, answer, append(args, "-o", "token", "--scope", "openid offline_access")...)
}

// reach goes to the provider's question whether the code is the right one.
func (p *provider) reach(d *device) *person {
	alice := newPerson(p.t, "alice")
	alice.open(d.Full)
	alice.submit("/device") // by a script in a browser
	alice.sees("Confirm Device")
	return alice
}

func (p *provider) allow(d *device) {
	alice := p.reach(d)
	alice.submit("/device")
	alice.sees("Sign-in")
	alice.submit("", "login", "alice", "password", "any")
	alice.sees("Authorize")
	alice.submit("")
	alice.sees("Sign-in Success")
}

func (p *provider) deny(d *device) { p.reach(d).submit("/device", "abort", "yes") }

// userinfo is the provider's own word on an access token.
func (p *provider) userinfo(token string) int {
	p.t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.url+"/me", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestTerminalClientKnowsAProviderThatIsNotOurs(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	first, err := p.login(p.allow)
	if err != nil {
		t.Fatal(err)
	}
	second, err := p.login(nil)
	if err != nil || second == first {
		t.Fatalf("%v: the refresh gave %q", err, second)
	}
	third, err := p.login(nil)
	if err != nil || third == second {
		t.Fatalf("%v: the refresh with a rotated token gave %q", err, third)
	}
	if status := p.userinfo(third); status != http.StatusOK {
		t.Errorf("the provider answers %d", status)
	}
	if out, err := p.run("device-login", "logout", p.url, "--scope", "offline_access openid"); err != nil ||
		!strings.Contains(out, "revoked") {
		t.Errorf("%v: %s", err, out)
	}
	if status := p.userinfo(third); status != http.StatusUnauthorized {
		t.Errorf("the provider answers %d after the logout", status)
	}
}

func TestTerminalClientIsDeniedByAProviderThatIsNotOurs(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	out, err := p.login(p.deny)
	if exit, _ := err.(*exec.ExitError); exit == nil || exit.ExitCode() != 3 || out != "" {
		t.Errorf("got %v and %q, want exit code 3 and nothing on standard output", err, out)
	}
}

// upstreamProvider is a gateway whose people sign in at the provider, as it comes.
func upstreamProvider(t *testing.T, lines string, client string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.signsInAt(runProvider(t, g.url+"/device/callback"), lines, client)
	g.start()
	return g
}

// signsInAt configures another upstream than the demo provider.
func (g *gateway) signsInAt(issuer, lines, client string) {
	g.t.Helper()
	g.configure(func(s string) string {
		before, rest, _ := strings.Cut(s, "\t\tupstream demo")
		_, after, _ := strings.Cut(rest, "\n\t\t}\n")
		upstream := "\t\tupstream other " + issuer +
			" {\n\t\t\tclient_id gateway\n\t\t\tclient_secret only-for-this-test\n" + lines + "\t\t}\n"
		return strings.Replace(before+upstream+after, "\t\tclient cool-gadget {\n",
			"\t\tclient cool-gadget {\n"+client, 1)
	})
}

// signsIn does what the provider asks for, and returns what that was.
func (p *person) signsIn() (asked string) {
	p.t.Helper()
	for range 5 {
		switch h := heading.FindStringSubmatch(p.page); {
		case h != nil && h[1] == "Sign-in":
			asked += "login "
			p.submit("", "login", p.user, "password", "any")
		case h != nil && h[1] == "Authorize":
			asked += "consent "
			p.submit("")
		// the account before is signed out, by a script in a browser
		case strings.Contains(p.page, "/session/end/confirm"):
			p.submit("/session/end/confirm")
		default:
			return strings.TrimSpace(asked)
		}
	}
	p.t.Fatalf("the sign-in goes round in circles, at %s:\n%s", p.at, p.page)
	return ""
}

// begins types a device's code in.
func (p *person) begins(d *device) {
	p.t.Helper()
	p.open(d.Page)
	p.submit("/device", "user_code", d.User)
}

// protocol 23, 37, 41
func TestProviderThatIsNotOursSignsPeopleIn(t *testing.T) {
	t.Parallel()
	g := upstreamProvider(t, "", "")
	alice, d := newPerson(t, "alice"), g.device()
	alice.begins(d)
	if asked := alice.signsIn(); asked != "login consent" {
		t.Errorf("asked for %q", asked)
	}
	alice.sees("Connect Cool Gadget?")
	alice.submit("/device/sign-out") // "use another account": the provider knows no select_account
	alice.sees("Sign in")
	alice.open("/device/sign-in?switch=1&with=other")
	alice.sees("Sign-in")
	alice.user = "bob"
	alice.signsIn()
	alice.sees("Connect Cool Gadget?")
	alice.submit("/device/confirm", "answer", "allow")
	alice.sees("is connected")
	if status, body := g.api(d.poll().Access); status != http.StatusOK ||
		!strings.Contains(body, `"Remote-User": "bob"`) {
		t.Errorf("the backend is told: %d %s", status, body)
	}
}

// protocol 23
func TestProviderThatIsNotOursVouchesAgain(t *testing.T) {
	t.Parallel()
	g := upstreamProvider(t, "\t\t\trevalidate\n", "")
	alice := newPerson(t, "alice")
	for i, want := range []string{"login consent consent", ""} { // a refresh token takes a consent of its own, once
		d := g.device()
		alice.begins(d)
		if asked := alice.signsIn(); asked != want {
			t.Errorf("device %d: asked for %q, want %q", i, asked, want)
		}
		alice.sees("Connect Cool Gadget?")
		alice.submit("/device/confirm", "answer", "allow")
		alice.sees("is connected")
		first := d.poll()
		second := g.refresh(first.Refresh)
		if third := g.refresh(second.Refresh); second.Status != http.StatusOK || third.Status != http.StatusOK {
			t.Errorf("device %d: the refreshes are answered %+v, %+v", i, second, third)
		}
	}
	if log := g.log.String(); strings.Contains(log, "sign-in refused") {
		t.Errorf("a sign-in is refused:\n%s", log)
	}
}

// protocol 41
func TestProviderThatIsNotOursSignsInAnew(t *testing.T) {
	t.Parallel()
	g := upstreamProvider(t, "", "\t\t\tsign_in fresh\n")
	alice := newPerson(t, "alice")
	for range 2 {
		d := g.device()
		alice.begins(d)
		alice.signsIn()
		alice.sees("Sign in again")
		alice.open("/device/sign-in?fresh=1&with=other")
		alice.sees("Sign-in")
		alice.signsIn()
		alice.sees("Connect Cool Gadget?")
		alice.submit("/device/confirm", "answer", "allow")
		alice.sees("is connected")
		if answer := d.poll(); answer.Status != http.StatusOK {
			t.Errorf("the device is answered %+v", answer)
		}
	}
}

// startZitadel runs the example server of Zitadel's library, as it comes.
func startZitadel(t *testing.T, redirectURI string) (issuer string) {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	issuer = strings.Replace("http://"+server.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	storage.RegisterClients(storage.WebClient("gateway", "only-for-this-test", redirectURI))
	server.Config.Handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)),
		slog.New(slog.DiscardHandler), false)
	server.Start()
	t.Cleanup(server.Close)
	return issuer
}

// zitadelSignsIn fills the server's form in.
func (p *person) zitadelSignsIn() {
	p.t.Helper()
	field := regexp.MustCompile(`name="id" value="([^"]*)"`).FindStringSubmatch(p.page)
	if field == nil {
		p.t.Fatalf("this is no sign-in, at %s:\n%s", p.at, p.page)
	}
	p.submit("/login/username", "id", field[1], "username", "test-user@localhost", "password", "verysecure")
}

// protocol 23, 37, 41
func TestZitadelSignsPeopleIn(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.signsInAt(startZitadel(t, g.url+"/device/callback"), "\t\t\trevalidate\n", "\t\t\tsign_in fresh\n")
	g.start()
	alice, d := newPerson(t, "test-user@localhost"), g.device()
	alice.begins(d)
	alice.zitadelSignsIn() // the server keeps no session, so that each sign-in is a fresh one
	alice.sees("Connect Cool Gadget?")
	alice.submit("/device/sign-out")
	alice.open("/device/sign-in?switch=1&with=other")
	alice.zitadelSignsIn()
	alice.sees("Connect Cool Gadget?")
	alice.submit("/device/confirm", "answer", "allow")
	alice.sees("is connected")
	first := d.poll()
	if second := g.refresh(first.Refresh); second.Status != http.StatusOK {
		t.Errorf("the refresh is answered %+v after %+v:\n%s", second, first, g.log)
	}
}
