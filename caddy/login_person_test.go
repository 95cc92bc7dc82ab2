package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// exited is the exit code of a command.
func exited(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

// The last line says how it ended, in a word, and not as a line of a log.
func TestTerminalClientSaysHowItEnded(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, test := range []struct {
		name   string
		answer func(*device)
		flags  []string
		code   int
		last   string
	}{
		{"denied", func(d *device) {
			bob := newPerson(t, "bob")
			bob.open(d.Full)
			bob.submit("/device", "user_code", d.User)
			bob.submit("/login", "user", "bob")
			bob.submit("/device/confirm", "answer", "deny")
		}, nil, 3, "denied"},
		{"late", func(*device) {}, []string{"--timeout", "1s"}, 4, "nobody answered in time: --timeout 1s"},
		{"interrupted", func(d *device) {
			if err := d.process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}, nil, 130, "interrupted"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "interrupted" && runtime.GOOS == "windows" {
				t.Skip("there is no such signal")
			}
			var shown *device
			out, err := g.login(func(d *device) { shown = d; test.answer(d) }, append(test.flags, "--no-keep")...)
			if out != "" || exited(err) != test.code {
				t.Errorf("exit code %d, want %d, and printed %q", exited(err), test.code, out)
			}
			lines := strings.Split(strings.TrimSpace(shown.printed), "\n")
			if last := lines[len(lines)-1]; last != test.last {
				t.Errorf("it ends with %q, want %q", last, test.last)
			}
			if strings.Contains(shown.printed, "\x1b") || strings.ContainsAny(shown.printed, "▀▄█") ||
				!strings.Contains(shown.printed, "The code is good until ") {
				t.Errorf("told in a file: %q", shown.printed)
			}
		})
	}
}

func TestTerminalClientSaysWhyItDoesNotBegin(t *testing.T) {
	t.Parallel()
	g := start(t)
	out, err := g.run("device-login", g.url, "--non-interactive")
	if exited(err) != 5 || !strings.HasPrefix(out, "a person has to say yes") || strings.Count(out, "\n") != 1 {
		t.Errorf("with nobody to be asked: exit code %d, %s", exited(err), out)
	}
	out, err = g.run("device-login", "http://127.0.0.1:1/")
	if exited(err) != 1 || !strings.HasPrefix(out, "Error: no authorization server found") ||
		strings.Contains(out, `"level"`) {
		t.Errorf("without a server: exit code %d, %s", exited(err), out)
	}
}

// protocol 38
func TestTerminalSaysWhatItIsCalled(t *testing.T) {
	t.Parallel()
	g := start(t)
	var shown *device
	if _, err := g.login(func(d *device) {
		shown = d
		alice := newPerson(t, "alice")
		alice.open(d.Full)
		alice.submit("/device", "user_code", d.User)
		alice.submit("/login", "user", "alice")
		if !strings.Contains(alice.page, "<dt>Calls itself</dt><dd><bdi>kitchen</bdi> ") {
			t.Errorf("the question does not say what the terminal calls itself:\n%s", alice.page)
		}
		alice.submit("/device/confirm", "answer", "allow")
	}, "--device-name", "kitchen"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(shown.printed, "Connected as alice, renewed by itself.\n") {
		t.Errorf("told %q", shown.printed)
	}
	list, err := g.auth("grants", "list")
	if err != nil || !strings.Contains(list, ` calls itself "kitchen"`+"\n") {
		t.Errorf("%v\n%s", err, list)
	}
	if out, err := g.run("device-login", g.url+"/api/products", "--non-interactive"); err != nil ||
		!strings.Contains(out, "Bearer ") || strings.Contains(out, "Connected") {
		t.Errorf("what is kept: %v, %s", err, out)
	}
}

// A browser of this computer is opened where it was asked for.
func TestTerminalOpensABrowser(t *testing.T) {
	t.Parallel()
	g := start(t)
	opened, browser := filepath.Join(t.TempDir(), "opened"), filepath.Join(t.TempDir(), "browser")
	if out, err := exec.Command(needs.Program(t, "mkfifo", "mkfifo"), opened).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	if err := os.WriteFile(browser, []byte("#!/bin/sh\necho \"$1\" >"+opened+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	g.env = append(g.env, "BROWSER="+browser)
	if _, err := g.login(func(d *device) {
		allowTerminal(t)(d)
		if text, err := os.ReadFile(opened); err != nil || string(text) != d.Full+"\n" { // waits for whoever writes
			t.Errorf("%v: opened is %q, want %s", err, text, d.Full)
		}
	}, "--open", "--no-keep"); err != nil {
		t.Fatal(err)
	}
}

// One trust in an issuer is enough for all APIs that name it.
func TestTerminalTrustsAnIssuer(t *testing.T) {
	t.Parallel()
	g := startWith(t, edgeClient)
	first, second := g.edge(""), g.edge("")
	g.reloadWith("\tbrand", "\taudience "+first.url+" "+second.url+"\n\t\tbrand")
	for _, edge := range []*gateway{first, second} {
		edge.reloadWith("\t\tclient edge", "\t\taudience "+edge.url+"\n\t\tclient edge")
	}
	out, err := g.loginAt(first.url+"/api/products", func(d *device) {
		if strings.Contains(d.printed, "names the server") {
			t.Errorf("told %q", d.printed)
		}
		allowTerminal(t)(d)
	}, "--issuer", g.url, "-o", "token")
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{second.url + "/api/products"}, {}} {
		args = append([]string{"device-login", "--issuer", g.url, "-o", "token", "--non-interactive"}, args...)
		if again, err := g.run(args...); err != nil || again != out {
			t.Errorf("%v: %v, %s", args, err, again)
		}
	}
	if out, err := g.run("device-login", second.url, "--issuer", "https://other.example"); exited(err) != 1 ||
		!strings.Contains(out, g.url) {
		t.Errorf("an API of another issuer: %v, %s", err, out)
	}
}
