package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// instead starts another Caddy, whose Caddyfile is a site of its own.
func (g *gateway) instead(site string) *gateway {
	g.t.Helper()
	other := newGateway(g.t)
	text := fmt.Sprintf("{\n\tadmin %s\n\tdefault_bind 127.0.0.1\n}\n%s {\n%s\n}\n", other.admin, other.url, site)
	if err := os.WriteFile(other.config, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	other.start()
	return other
}

// edge starts a guard far from its server.
func (g *gateway) edge(more string) *gateway {
	g.t.Helper()
	return g.instead("\tdevice_auth /api/* products:read {\n\t\tissuer " + g.url + "\n\t\tclient edge only-for-this-test\n" + more + "\t}\n\treverse_proxy /api/* " + g.legacy)
}

const edgeClient = "client edge {\n\t\t\tsecret only-for-this-test\n\t\t\tguard\n\t\t}"

// protocol 24, 33
func TestGuardFarFromItsServer(t *testing.T) {
	g := startWith(t, edgeClient)
	edge := g.edge("")
	d := g.device()
	newPerson(t, "alice").allow(d)
	tokens := d.poll()
	response, body := edge.request("GET", "/api/products", http.Header{"Authorization": {"Bearer " + tokens.Access}, "Remote_user": {"root"}, "Remote-Groups": {"root"}})
	for _, want := range []string{`"Remote-User": "alice"`, `"Remote-Email": "alice@example.com"`, `"Remote-Groups": "device-owners,staff"`, `"Remote-Client": "cool-gadget"`, `"Authorization": ""`} {
		if response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, want 200 and %s in:\n%s", response.StatusCode, want, body)
		}
	}
	response, _ = edge.request("GET", "/api/products", http.Header{})
	if challenge := response.Header.Get("WWW-Authenticate"); response.StatusCode != http.StatusUnauthorized || !strings.Contains(challenge, edge.url+"/.well-known/oauth-protected-resource") {
		t.Errorf("without a token: %d %q", response.StatusCode, challenge)
	}
	if _, body := edge.request("GET", "/.well-known/oauth-protected-resource/api", http.Header{}); !strings.Contains(body, `"`+g.url+`"`) || !strings.Contains(body, "products:read") {
		t.Errorf("the site describes itself as %s", body)
	}
	if files, err := filepath.Glob(edge.dir + "/data/*/device_login"); err != nil || len(files) > 0 {
		t.Errorf("it has a store: %v, %v", files, err)
	}
	// A device that is cut off is out within a second, near and far.
	for _, guard := range []*gateway{g, edge} {
		if status, _ := guard.api(tokens.Access); status != http.StatusOK {
			t.Fatalf("before the revocation: %d", status)
		}
	}
	g.revoke(tokens.Refresh)
	revoked := time.Now()
	for _, guard := range []*gateway{g, edge} {
		for status := 0; status != http.StatusUnauthorized; {
			asked := time.Now()
			if status, _ = guard.api(tokens.Access); status == http.StatusOK && asked.Sub(revoked) > time.Second {
				t.Fatalf("%v after the revocation the guard lets it through", asked.Sub(revoked))
			}
		}
	}
}

func TestGuardFarFromItsServerHealsByItself(t *testing.T) {
	g := startWith(t, edgeClient)
	token := g.token()
	edge := g.edge("")
	g.kill()
	if status, _ := edge.api(token); status != http.StatusServiceUnavailable {
		t.Errorf("the server is away: %d", status)
	}
	g.start()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if status, _ := edge.api(token); status == http.StatusOK {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the server is back: %d\n%s", status, edge.log)
		}
	}
}

// metric returns a line of Caddy's metrics.
func (g *gateway) metric(name string) string {
	g.t.Helper()
	response, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// protocol 33
func TestReportOnlyLetsThroughWhatItWouldRefuse(t *testing.T) {
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read", "device_auth /api/* products:read {\n\t\treport_only\n\t}", 1)
	})
	g.start()
	for _, header := range []http.Header{{}, {"Authorization": {"Bearer x"}}, {"Authorization": {"Basic eDp5"}}, {"Remote-User": {"root"}, "REMOTE_USER": {"root"}}} {
		response, body := g.request("GET", "/api/products", header)
		if response.StatusCode != http.StatusOK || response.Header.Get("WWW-Authenticate") != "" || strings.Contains(body, "root") || !strings.Contains(body, header.Get("Authorization")) {
			t.Errorf("%v: %d %v\n%s", header, response.StatusCode, response.Header, body)
		}
	}
	if _, body := g.api(g.token()); !strings.Contains(body, `"Remote-User": "alice"`) {
		t.Errorf("who has a token is nobody:\n%s", body)
	}
	if n := strings.Count(g.log.String(), "would be refused"); n != 4 {
		t.Errorf("the log says %d times that somebody would be refused, want 4", n)
	}
	for decision, want := range map[string]string{"reported": "4", "no_token": "3", "invalid_token": "1", "admitted": "1"} {
		if got := g.metric(`caddy_device_auth_requests_total{decision="` + decision + `"}`); got != want {
			t.Errorf("%s: counted %q, want %s", decision, got, want)
		}
	}
}

func TestOldKeysAreLetThroughBesideTokens(t *testing.T) {
	g := newGateway(t)
	keys := filepath.Join(g.dir, "keys")
	// printf %s "the second old key" | sha256sum
	text := "# client key\nbilling old-key-of-billing\nreports sha256:59f49d9eef1b5bea4d9f45ffa3bf9f901551555a790f624727af4e3f2c994bbb\n"
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read", "device_auth /api/* products:read {\n\t\tlegacy X-Api-Key "+keys+" 2026-01-31\n\t}", 1)
	})
	g.start()
	response, body := g.request("GET", "/api/products", http.Header{"X-Api-Key": {"old-key-of-billing"}, "Remote-User": {"root"}})
	if response.StatusCode != http.StatusOK || !strings.Contains(body, `"Remote-Client": "billing"`) || !strings.Contains(body, `"Remote-User": ""`) || response.Header.Get("Deprecation") != "@1769817600" {
		t.Errorf("%d %v\n%s", response.StatusCode, response.Header, body)
	}
	if got := g.metric(`caddy_device_auth_legacy_total{client="billing"}`); got != "1" {
		t.Errorf("counted %q", got)
	}
	if _, body := g.request("GET", "/api/products", http.Header{"X-Api-Key": {"the second old key"}}); !strings.Contains(body, `"Remote-Client": "reports"`) {
		t.Errorf("a key that is written as its digest:\n%s", body)
	}
	for _, header := range []http.Header{{"X-Api-Key": {"wrong-key"}}, {"X-Api-Key": {"old-key-of-billing", "x"}}, {"X-Api-Key": {"old-key-of-billing"}, "Authorization": {"Bearer x"}}} {
		if response, _ := g.request("GET", "/api/products", header); response.StatusCode != http.StatusUnauthorized || response.Header.Get("Deprecation") != "" {
			t.Errorf("%v: %d %v", header, response.StatusCode, response.Header)
		}
	}
	if response, _ := g.request("GET", "/api/products", http.Header{"Authorization": {"Bearer " + g.token()}}); response.StatusCode != http.StatusOK || response.Header.Get("Deprecation") != "" {
		t.Errorf("a token: %d %v", response.StatusCode, response.Header)
	}
}

func TestFileOfOldKeysIsChecked(t *testing.T) {
	g := newGateway(t)
	keys := filepath.Join(g.dir, "keys")
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read", "device_auth /api/* products:read {\n\t\tlegacy X-Api-Key "+keys+"\n\t}", 1)
	})
	for text, want := range map[string]string{
		"billing":                "keys:1: want a client and its key",
		"# x\nbilling x":         "keys:2: the key of billing is shorter",
		"a 12345678\nb 12345678": "a and b have the same key",
		"a sha256:12":            "64 hexadecimal digits",
	} {
		if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := g.run("validate", "--config", g.config); err == nil || !strings.Contains(out, want) {
			t.Errorf("%q: %v\n%s", text, err, out)
		}
	}
}
