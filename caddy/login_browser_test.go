package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// browserProgram is a program for BROWSER, which tells the test what it is to open.
func browserProgram(t *testing.T) (program string, opened func() string) {
	t.Helper()
	folder := t.TempDir()
	program, address := filepath.Join(folder, "browser"), filepath.Join(folder, "address")
	script := fmt.Sprintf("#!/bin/sh\nprintf %%s \"$1\" >%[1]s.new && mv %[1]s.new %[1]s\n", address)
	if err := os.WriteFile(program, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return program, func() string {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if text, err := os.ReadFile(address); err == nil {
				return string(text)
			}
		}
		t.Fatal("no browser was opened")
		return ""
	}
}

// A browserLogin is a run of device-login that opens a browser.
type browserLogin struct {
	g       *gateway
	opened  func() string
	outcome chan error
	out     strings.Builder
	output  strings.Builder
}

// loginInBrowser starts `caddy device-login` where BROWSER names a program.
func (g *gateway) loginInBrowser(args ...string) *browserLogin {
	g.t.Helper()
	program, opened := browserProgram(g.t)
	cmd := g.command(append([]string{"device-login", g.url + "/api/products"}, args...)...)
	cmd.Env = append(cmd.Env, "BROWSER="+program, "SSH_CONNECTION=", "SSH_CLIENT=", "SSH_TTY=")
	l := &browserLogin{g: g, opened: opened, outcome: make(chan error, 1)}
	cmd.Stdout, cmd.Stderr = &l.out, &l.output
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { cmd.Process.Kill() })
	go func() { l.outcome <- cmd.Wait() }()
	return l
}

// answer is alice, who signs in and answers in the browser that was opened.
func (l *browserLogin) answer(answer string) *person {
	l.g.t.Helper()
	alice := newPerson(l.g.t, "alice")
	alice.open(l.opened())
	alice.submit("/login", "user", "alice")
	alice.sees("Connect Terminal?")
	alice.submit("/device/confirm", "answer", answer)
	return alice
}

// ended waits for the end of the run.
func (l *browserLogin) ended() error {
	l.g.t.Helper()
	select {
	case err := <-l.outcome:
		return err
	case <-time.After(20 * time.Second):
		l.g.t.Fatalf("it goes on:\n%s", &l.output)
		return nil
	}
}

// protocol 47, 48, 49
func TestTerminalClientSignsInByTheBrowser(t *testing.T) {
	t.Parallel()
	g := start(t)
	l := g.loginInBrowser("-o", "token")
	l.answer("allow").sees("Signed in")
	if err := l.ended(); err != nil {
		t.Fatalf("%v\n%s", err, &l.output)
	}
	if status, body := g.api(strings.TrimSpace(l.out.String())); status != 200 ||
		!strings.Contains(body, `"Remote-Client": "device-login"`) {
		t.Errorf("the API answers %d %s", status, body)
	}
	if !strings.Contains(l.output.String(), "Connected as alice, renewed by itself.") {
		t.Errorf("said %q", &l.output)
	}
}

// protocol 48
func TestTerminalClientHearsANoFromTheBrowser(t *testing.T) {
	t.Parallel()
	l := start(t).loginInBrowser()
	l.answer("deny").sees("Not signed in")
	if err := l.ended(); err == nil || err.Error() != "exit status 3" {
		t.Errorf("got %v\n%s", err, &l.output)
	}
}

// A page in the person's browser, or a program of another user, can reach the listener
// too: neither ends the login, and neither can answer it.
//
// protocol 49
func TestListenerOfTheTerminalClientTakesOneAnswer(t *testing.T) {
	t.Parallel()
	g := start(t)
	l := g.loginInBrowser()
	address, err := url.Parse(l.opened())
	if err != nil {
		t.Fatal(err)
	}
	q := address.Query()
	callback, state := q.Get("redirect_uri"), url.QueryEscape(q.Get("state"))
	issuer := url.QueryEscape(g.url)
	for name, wrong := range map[string]func() *http.Request{
		"no state":      func() *http.Request { return getRequest(t, callback+"?code=x&iss="+issuer) },
		"another state": func() *http.Request { return getRequest(t, callback+"?code=x&state=x&iss="+issuer) },
		"another path": func() *http.Request {
			return getRequest(t, callback+"/x?code=x&state="+state+"&iss="+issuer)
		},
		"another host": func() *http.Request {
			r := getRequest(t, callback+"?code=x&state="+state+"&iss="+issuer)
			r.Host = "evil.example"
			return r
		},
	} {
		response, err := http.DefaultClient.Do(wrong())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", name, response.Status)
		}
	}
	l.answer("allow").sees("Signed in")
	if err := l.ended(); err != nil {
		t.Fatalf("%v\n%s", err, &l.output)
	}
	if _, err := http.DefaultClient.Do(getRequest(t, callback)); err == nil {
		t.Error("it still listens")
	}
}

func getRequest(t *testing.T, address string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// RFC 9207 §2.4: an answer of another server is not this one's.
func TestTerminalClientRefusesTheAnswerOfAnotherServer(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, iss := range []string{"", "&iss=https%3A%2F%2Fevil.example"} {
		l := g.loginInBrowser("--new")
		address, err := url.Parse(l.opened())
		if err != nil {
			t.Fatal(err)
		}
		q := address.Query()
		response, err := http.DefaultClient.Do(getRequest(t,
			q.Get("redirect_uri")+"?code=ac_x&state="+url.QueryEscape(q.Get("state"))+iss))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if err := l.ended(); err == nil || !strings.Contains(l.output.String(), "names the issuer") {
			t.Errorf("got %v\n%s", err, &l.output)
		}
	}
}

// A server that does not know the redirect URI would show a page, and the terminal would
// wait for ever.
func TestTerminalClientFallsBackToTheCode(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		before, after, _ := strings.Cut(s, "\t\t\tredirect http://127.0.0.1/callback")
		_, after, _ = strings.Cut(after, "\n")
		return before + after
	})
	g.start()
	program, _ := browserProgram(t)
	g.env = append(g.env, "BROWSER="+program, "SSH_CONNECTION=", "SSH_CLIENT=", "SSH_TTY=")
	out, err := g.login(allowTerminal(t))
	if err != nil || !strings.HasPrefix(out, "Authorization: Bearer ") {
		t.Errorf("%v: %q", err, out)
	}
	if out, err := g.run("device-login", g.url+"/api/products", "--new", "--browser"); err == nil ||
		!strings.Contains(out, "http://127.0.0.1/callback") {
		t.Errorf("--browser: %v\n%s", err, out)
	}
}

func TestTerminalClientShowsACodeOverSSH(t *testing.T) {
	t.Parallel()
	g := start(t)
	program, _ := browserProgram(t)
	g.env = append(g.env, "BROWSER="+program, "SSH_CONNECTION=192.0.2.1 1 192.0.2.2 22")
	if _, err := g.login(allowTerminal(t)); err != nil {
		t.Error(err)
	}
	g.env = append(g.env, "SSH_CONNECTION=")
	if _, err := g.login(allowTerminal(t), "--new", "--device"); err != nil {
		t.Error(err)
	}
}
