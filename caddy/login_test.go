package main

import (
	"bufio"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// login runs `caddy device-login` and lets a person answer what it shows.
func (g *gateway) login(answer func(*device), args ...string) (stdout string, err error) {
	g.t.Helper()
	cmd := g.command(append([]string{"device-login", g.url + "/api/products"}, args...)...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	d := &device{t: g.t, g: g, Page: g.url + "/device"}
	typed := regexp.MustCompile(`^Type +(\S+)`)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if code := typed.FindStringSubmatch(lines.Text()); code != nil {
			d.User, d.Full = code[1], d.Page+"?user_code="+code[1]
		}
		if strings.HasPrefix(lines.Text(), "Waiting") {
			answer(d)
		}
	}
	err = cmd.Wait()
	return out.String(), err
}

func TestTerminalClientPrintsAHeaderForCurl(t *testing.T) {
	g := start(t)
	alice := newPerson(t, "alice")
	out, err := g.login(func(d *device) {
		alice.open(d.Full)
		alice.submit("/device", "user_code", d.User)
		alice.submit("/login", "user", "alice")
		alice.sees("Connect Terminal?")
		alice.submit("/device/confirm", "answer", "allow")
	})
	token, ok := strings.CutPrefix(strings.TrimSuffix(out, "\n"), "Authorization: Bearer ")
	if err != nil || !ok || strings.Contains(token, "\n") {
		t.Fatalf("%v: %q", err, out)
	}
	if status, body := g.api(token); status != 200 || !strings.Contains(body, `"Remote-Client": "device-login"`) {
		t.Errorf("the API answers %d %s", status, body)
	}
}

func TestTerminalClientTellsADenialByItsExitCode(t *testing.T) {
	g := start(t)
	bob := newPerson(t, "bob")
	out, err := g.login(func(d *device) {
		bob.open(d.Full)
		bob.submit("/device", "user_code", d.User)
		bob.submit("/login", "user", "bob")
		bob.submit("/device/confirm", "answer", "deny")
	}, "--no-qr", "--scope", "openid")
	var exit *exec.ExitError
	if exit, _ = err.(*exec.ExitError); exit == nil || exit.ExitCode() != 3 || out != "" {
		t.Errorf("got %v and %q, want exit code 3 and nothing on standard output", err, out)
	}
}
