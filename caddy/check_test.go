package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// check runs `caddy device-auth check`, and folds what it prints into one line.
func (g *gateway) check(args ...string) (printed string, code int) {
	g.t.Helper()
	out, err := g.run(append([]string{"device-auth", "check"}, args...)...)
	return strings.Join(strings.Fields(out), " "), exitCode(g.t, err, out)
}

func exitCode(t *testing.T, err error, out string) int {
	t.Helper()
	if exit, ok := err.(*exec.ExitError); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return 0
}

func TestCheckFindsNothingWrongWithTheDemo(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, address := range []string{g.url, g.url + "/", g.url + "/api/products"} {
		if out, code := g.check(address); code != 0 || strings.ContainsAny(out, "✗!") ||
			!strings.Contains(out, "✓ page.upstream") {
			t.Errorf("%s: exit code %d, printed %s", address, code, out)
		}
	}
	var results []struct{ Name, Status string }
	out, err := g.run("device-auth", "check", "--json", g.url+"/api/products")
	if jsonErr := json.Unmarshal([]byte(out), &results); err != nil || jsonErr != nil || len(results) < 40 ||
		results[0].Name != "reach.url" || results[0].Status != "ok" {
		t.Errorf("%v, %v: %s", err, jsonErr, out)
	}
}

func TestCheckLogsInAndLeavesNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	out, err := g.prompted(allowTerminal(t), "device-auth", "check", "--login", g.url+"/api/products")
	if code := exitCode(t, err, out); code != 0 || strings.ContainsAny(out, "✗!") ||
		!strings.Contains(out, "✓ login.revoke") {
		t.Errorf("exit code %d, printed\n%s", code, out)
	}
	list, err := g.run("device-auth", "--address", g.admin, "grants", "list")
	if err != nil || strings.Count(list, " pending ") != 1 || strings.Count(list, " revoked ") != 1 ||
		strings.Contains(list, "connected") {
		t.Errorf("%v, left behind:\n%s", err, list)
	}
}

// A provider's console that somebody has still to fill in.
func TestCheckSaysThatTheCallbackIsNotRegistered(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "only-for-this-demo "+g.url+"/device/callback",
			"only-for-this-demo "+g.url+"/callback", 1)
	})
	g.start()
	out, code := g.check(g.url)
	want := fmt.Sprintf("Register %s/device/callback as redirect URI for the client gateway at %s", g.url,
		strings.TrimPrefix(g.upstream, "http://"))
	if code != 1 || !strings.Contains(out, "✗ page.upstream") || strings.Count(out, "✗") != 1 ||
		!strings.Contains(out, want) {
		t.Errorf("exit code %d, want %q in %s", code, want, out)
	}
}

// Each of several upstreams has to know its own.
func TestCheckSaysWhichCallbackOfSeveralIsNotRegistered(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		begin := strings.Index(s, "\t\tupstream demo")
		end := begin + strings.Index(s[begin:], "\n\t\t}\n") + len("\n\t\t}\n")
		s = s[:end] + strings.Replace(s[begin:end], "upstream demo", "upstream partner", 1) + s[end:]
		return strings.Replace(s, g.url+"/device/callback", g.url+"/device/callback/demo", 1)
	})
	g.start()
	out, code := g.check(g.url)
	want := fmt.Sprintf("Register %s/device/callback/partner as redirect URI", g.url)
	if code != 1 || !strings.Contains(out, want) || strings.Contains(out, "Register "+g.url+"/device/callback/demo") {
		t.Errorf("exit code %d, want %q in %s", code, want, out)
	}
	g.log.wait(t, `"upstream":"partner","redirect_uri":"`+g.url+`/device/callback/partner"`)
}

func TestCheckSaysWhereSignInIsUnavailable(t *testing.T) {
	t.Parallel()
	for where, title := range map[string]string{"nobody listens": "Sign-in is unavailable",
		"no provider answers": "Sign-in is set up wrongly"} {
		t.Run(where, func(t *testing.T) {
			g := newGateway(t)
			g.configure(func(s string) string {
				upstream := g.legacy
				if where == "nobody listens" {
					upstream = "http://localhost:" + loadtest.FreePorts(1)[0]
				}
				return strings.Replace(s, "upstream demo "+g.upstream, "upstream demo "+upstream, 1)
			})
			g.start()
			out, code := g.check(g.url)
			for _, want := range []string{"✗ page.upstream", title, "issuer URL in the `upstream` line"} {
				if code != 1 || !strings.Contains(out, want) {
					t.Errorf("exit code %d, want %q in %s", code, want, out)
				}
			}
		})
	}
}

func TestCheckSaysThatNothingGuards(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string { return strings.Replace(s, "device_auth /api/*", "device_auth /v2/*", 1) })
	g.start()
	out, code := g.check(g.url + "/api/products")
	if code != 1 || !strings.Contains(out, "✗ resource.guard") || strings.Count(out, "✗") != 1 ||
		!strings.Contains(out, "`device_auth /api/*`") {
		t.Errorf("exit code %d, printed %s", code, out)
	}
}

// A proxy on another port, with the old issuer behind it.
func TestCheckSaysThatTheIssuerIsAnother(t *testing.T) {
	t.Parallel()
	g := start(t)
	to, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }})
	defer proxy.Close()
	out, code := g.check(proxy.URL)
	if code != 1 || !strings.Contains(out, "✗ metadata.issuer") ||
		!strings.Contains(out, "say `issuer "+proxy.URL+"`; else give "+g.url) {
		t.Errorf("exit code %d, printed %s", code, out)
	}
	g.kill()
	if out, code = g.check(g.url); code != 1 || !strings.Contains(out, "✗ reach.connection") ||
		strings.Count(out, "✗") != 1 {
		t.Errorf("of a server that is away: exit code %d, printed %s", code, out)
	}
}

// An interrupt ends it at once, and not in ten seconds.
func TestCheckIsInterrupted(t *testing.T) {
	t.Parallel()
	asked, over := make(chan bool), make(chan bool)
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked <- true; <-over }))
	defer silent.Close()
	defer close(over)
	g := newGateway(t)
	cmd := g.command("device-auth", "check", silent.URL)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-asked
	cmd.Process.Signal(os.Interrupt)
	output, _ := io.ReadAll(out)
	if code := exitCode(t, cmd.Wait(), string(output)); code != 130 ||
		!strings.Contains(string(output), "interrupted") {
		t.Errorf("exit code %d, says %s", code, output)
	}
}

// What only our own documentation promises, another product need not do.
func TestCheckKnowsAProviderThatIsNotOurs(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	out, err := p.prompted(p.allow, "device-auth", "check", "--login", p.url, "--scope", "openid offline_access")
	if code := exitCode(t, err, out); code != 0 || strings.Contains(out, "✗") ||
		!strings.Contains(out, "✓ login.revoke") ||
		!strings.Contains(out, "pages of other products are not known here") {
		t.Errorf("exit code %d, printed %s", code, out)
	}
}
