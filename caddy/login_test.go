package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// login runs `caddy device-login` and lets a person answer what it shows.
func (g *gateway) login(answer func(*device), args ...string) (stdout string, err error) {
	g.t.Helper()
	return g.loginAt(g.url+"/api/products", answer, args...)
}

// loginAt is the same for any API.
func (g *gateway) loginAt(api string, answer func(*device), args ...string) (stdout string, err error) {
	g.t.Helper()
	return g.prompted(answer, append([]string{"device-login", api}, args...)...)
}

// prompted runs a command that shows a code. A nil answer claims that nobody
// is asked.
func (g *gateway) prompted(answer func(*device), args ...string) (stdout string, err error) {
	g.t.Helper()
	cmd := g.command(args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	d := &device{t: g.t, g: g, process: cmd.Process}
	shown := regexp.MustCompile(`^(Open|Type) +(\S+)`)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if m := shown.FindStringSubmatch(lines.Text()); m != nil {
			*map[string]*string{"Open": &d.Page, "Type": &d.User}[m[1]] = m[2]
			d.Full = d.Page + "?user_code=" + d.User
		}
		d.printed += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "Waiting for your") {
			if answer == nil {
				cmd.Process.Kill()
				g.t.Error("a person was asked")
				continue
			}
			answer(d)
		}
	}
	err = cmd.Wait()
	return out.String(), err
}

// allowTerminal is alice, who says yes to what the terminal shows.
func allowTerminal(t *testing.T) func(*device) {
	return func(d *device) {
		alice := newPerson(t, "alice")
		alice.open(d.Full)
		alice.submit("/device", "user_code", d.User)
		alice.submit("/login", "user", "alice")
		alice.sees("Connect Terminal?")
		alice.submit("/device/confirm", "answer", "allow")
	}
}

func TestTerminalClientPrintsAHeaderForCurl(t *testing.T) {
	t.Parallel()
	g := start(t)
	out, err := g.login(allowTerminal(t))
	token, ok := strings.CutPrefix(strings.TrimSuffix(out, "\n"), "Authorization: Bearer ")
	if err != nil || !ok || strings.Contains(token, "\n") {
		t.Fatalf("%v: %q", err, out)
	}
	if status, body := g.api(token); status != 200 || !strings.Contains(body, `"Remote-Client": "device-login"`) {
		t.Errorf("the API answers %d %s", status, body)
	}
}

// reloadWith changes a text of the configuration that is there, and loads it.
func (g *gateway) reloadWith(before, after string) {
	g.t.Helper()
	text, err := os.ReadFile(g.config)
	if err != nil || !strings.Contains(string(text), before) {
		g.t.Fatalf("%v: no %q in\n%s", err, before, text)
	}
	if err := os.WriteFile(g.config, []byte(strings.Replace(string(text), before, after, 1)), 0o600); err != nil {
		g.t.Fatal(err)
	}
	if out, err := g.reload(); err != nil {
		g.t.Fatalf("%v\n%s", err, out)
	}
}

func TestTerminalClientTellsWhichSiteWouldHaveTheToken(t *testing.T) {
	t.Parallel()
	g := startWith(t, edgeClient)
	edge := g.edge("")
	// A program finds the server by the URL of a site that tokens are for (RFC 9728).
	g.reloadWith("\tbrand", "\taudience "+edge.url+"\n\t\tbrand")
	edge.reloadWith("\t\tclient edge", "\t\taudience "+edge.url+"\n\t\tclient edge")
	want := "The API at " + edge.url + " names the server " + g.url + "."
	out, err := g.loginAt(edge.url+"/api/products", func(d *device) {
		if before, _, ok := strings.Cut(d.printed, "Open "); !ok || !strings.Contains(before, want) {
			t.Errorf("told %q, want %q first", d.printed, want)
		}
		allowTerminal(t)(d)
	}, "-o", "token")
	if err != nil {
		t.Fatal(err)
	}
	if status, body := edge.api(strings.TrimSpace(out)); status != 200 {
		t.Errorf("the API answers %d %s", status, body)
	}
	g.login(func(d *device) {
		if strings.Contains(d.printed, "names the server") {
			t.Errorf("for an API at its server, told %q", d.printed)
		}
		allowTerminal(t)(d)
	}, "--no-keep")
}

func TestTerminalClientTellsADenialByItsExitCode(t *testing.T) {
	t.Parallel()
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

func TestTerminalClientAsksOnce(t *testing.T) {
	t.Parallel()
	g := start(t)
	out, err := g.login(allowTerminal(t), "-o", "token")
	if err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(out)
	if again, err := g.login(nil, "-o", "curl"); err != nil ||
		again != `header = "Authorization: Bearer `+token+"\"\n" {
		t.Errorf("%v: the second call prints %q", err, again)
	}
	var left tokens
	again, err := g.login(nil, "-o", "json")
	if err := errors.Join(err, json.Unmarshal([]byte(again), &left)); err != nil || left.Access != token ||
		left.Refresh == "" || left.ExpiresIn <= 0 || left.ExpiresIn > 900 {
		t.Errorf("%v: the third call prints %s", err, again)
	}
	for _, flag := range []string{"--no-keep", "--new"} {
		other, err := g.login(allowTerminal(t), "-o", "token", flag)
		if err != nil || strings.TrimSpace(other) == token {
			t.Errorf("%s: %v and the old token", flag, err)
		}
		want := map[string]string{"--no-keep": out, "--new": other}[flag]
		if kept, err := g.login(nil, "-o", "token"); err != nil || kept != want {
			t.Errorf("%s: %v, kept %q, want %q", flag, err, kept, want)
		}
	}
}

func TestTerminalsAtOnceAskOnce(t *testing.T) {
	t.Parallel()
	g := start(t)
	var second string
	var other sync.WaitGroup
	first, err := g.login(func(d *device) {
		other.Go(func() {
			out, err := g.login(nil, "-o", "token")
			if second = out; err != nil {
				t.Error(err)
			}
		})
		time.Sleep(200 * time.Millisecond) // the other one is there by then, most of the time
		allowTerminal(t)(d)
	}, "-o", "token")
	if other.Wait(); err != nil || first != second {
		t.Errorf("%v: printed %q and %q", err, first, second)
	}
}

func TestTerminalClientRefreshesByItself(t *testing.T) {
	t.Parallel()
	g := startWith(t, "lifetime access_token 1m") // never good for a minute more
	first, err := g.login(allowTerminal(t), "-o", "token")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		next, err := g.login(nil, "-o", "token")
		if err != nil || next == first {
			t.Fatalf("%v: printed %q after %q", err, next, first)
		}
		if status, body := g.api(strings.TrimSpace(next)); status != 200 {
			t.Errorf("the API answers %d %s", status, body)
		}
		first = next
	}
}

func TestTerminalClientLogsOut(t *testing.T) {
	t.Parallel()
	g := start(t)
	token, err := g.login(allowTerminal(t), "-o", "token")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Logged out", "Nobody was logged in"} {
		if out, err := g.run("device-login", "logout", g.url); err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %s, want %q", err, out, want)
		}
	}
	if status, _ := g.api(strings.TrimSpace(token)); status != 401 {
		t.Errorf("the API answers %d after the logout", status)
	}
	if _, err := g.login(allowTerminal(t)); err != nil {
		t.Error(err)
	}
	g.kill()
	out, err := g.run("device-login", "logout", g.url)
	if exit, _ := err.(*exec.ExitError); exit == nil || exit.ExitCode() != 1 {
		t.Errorf("%v: %s, want exit code 1 where the server is away", err, out)
	}
	if files, _ := filepath.Glob(filepath.Join(g.dir, "config", "caddy-device-login", "*")); len(files) != 2 {
		t.Errorf("kept are %q, want the token and its lock", files)
	}
}
