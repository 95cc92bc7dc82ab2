package main

import (
	"bufio"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
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
	folder, port := npmFolder(t), freePorts(t, 1)[0]
	cmd := exec.Command("node", filepath.Join(folder, "oidc-provider.mjs"), port)
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
	return &provider{newGateway(t), "http://localhost:" + port}
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
	if out, err := p.run("device-login", "logout", p.url, "--scope", "offline_access openid"); err != nil || !strings.Contains(out, "revoked") {
		t.Errorf("%v: %s", err, out)
	}
	if status := p.userinfo(third); status != http.StatusUnauthorized {
		t.Errorf("the provider answers %d after the logout", status)
	}
}

func TestTerminalClientIsDeniedByAProviderThatIsNotOurs(t *testing.T) {
	p := startProvider(t)
	out, err := p.login(p.deny)
	if exit, _ := err.(*exec.ExitError); exit == nil || exit.ExitCode() != 3 || out != "" {
		t.Errorf("got %v and %q, want exit code 3 and nothing on standard output", err, out)
	}
}
