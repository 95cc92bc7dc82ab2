package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// protocol 33
func TestReportOnlyLetsThroughWhatItWouldRefuse(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\treport_only\n\t}", 1)
	})
	g.start()
	for _, header := range []http.Header{{}, {"Authorization": {"Bearer x"}}, {"Authorization": {"Basic eDp5"}},
		{"Remote-User": {"root"}, "REMOTE_USER": {"root"}}} {
		response, body := g.request("GET", "/api/products", header)
		if response.StatusCode != http.StatusOK || response.Header.Get("WWW-Authenticate") != "" ||
			strings.Contains(body, "root") || !strings.Contains(body, header.Get("Authorization")) {
			t.Errorf("%v: %d %v\n%s", header, response.StatusCode, response.Header, body)
		}
	}
	if _, body := g.api(g.token()); !strings.Contains(body, `"Remote-User": "alice"`) {
		t.Errorf("who has a token is nobody:\n%s", body)
	}
	if n := strings.Count(g.log.String(), "would be refused"); n != 4 {
		t.Errorf("the log says %d times that somebody would be refused, want 4", n)
	}
	for decision, want := range map[string]string{"reported": "4", "no_token": "3", "invalid_token": "1",
		"admitted": "1"} {
		if got := g.metric(`caddy_device_auth_requests_total{decision="` + decision + `"}`); got != want {
			t.Errorf("%s: counted %q, want %s", decision, got, want)
		}
	}
}

func TestOldKeysAreLetThroughBesideTokens(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	keys := filepath.Join(g.dir, "keys")
	// printf %s "the second old key" | sha256sum
	text := "\ufeff# products:write-keys\nbilling old-key-of-billing\n" +
		"reports sha256:59f49d9eef1b5bea4d9f45ffa3bf9f901551555a790f624727af4e3f2c994bbb\n"
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\tlegacy X-Api-Key "+keys+" 2026-01-31\n\t}", 1)
	})
	g.start()
	response, body := g.request("GET", "/api/products",
		http.Header{"X-Api-Key": {"old-key-of-billing"}, "Remote-User": {"root"}})
	if response.StatusCode != http.StatusOK || !strings.Contains(body, `"Remote-Client": "billing"`) ||
		!strings.Contains(body, `"Remote-User": ""`) || response.Header.Get("Deprecation") != "@1769817600" {
		t.Errorf("%d %v\n%s", response.StatusCode, response.Header, body)
	}
	if got := g.metric(`caddy_device_auth_legacy_total{client="billing"}`); got != "1" {
		t.Errorf("counted %q", got)
	}
	if _, body := g.request("GET", "/api/products",
		http.Header{"X-Api-Key": {"the second old key"}}); !strings.Contains(body, `"Remote-Client": "reports"`) {
		t.Errorf("a key that is written as its digest:\n%s", body)
	}
	for _, header := range []http.Header{{"X-Api-Key": {"wrong-key"}}, {"X-Api-Key": {"old-key-of-billing", "x"}},
		{"X-Api-Key": {"old-key-of-billing"}, "Authorization": {"Bearer x"}}} {
		if response, _ := g.request("GET", "/api/products", header); response.StatusCode != http.StatusUnauthorized ||
			response.Header.Get("Deprecation") != "" {
			t.Errorf("%v: %d %v", header, response.StatusCode, response.Header)
		}
	}
	if response, _ := g.request("GET", "/api/products",
		http.Header{"Authorization": {"Bearer " + g.token()}}); response.StatusCode != http.StatusOK ||
		response.Header.Get("Deprecation") != "" {
		t.Errorf("a token: %d %v", response.StatusCode, response.Header)
	}
}

func TestFileOfOldKeysIsChecked(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	keys := filepath.Join(g.dir, "keys")
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\tlegacy X-Api-Key "+keys+"\n\t}", 1)
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

// Whoever adds report_only to a live site changes nothing for its clients.
func TestReportOnlyIsNotNoticed(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "device_auth /api/* products:read",
			"header Cache-Control max-age=60\n\tdevice_auth /api/* products:write {\n\t\treport_only\n\t}", 1)
		s = strings.Replace(s, "Terminal\"", "Terminal\"\n\t\t\torigin http://page.example", 1)
		return strings.Replace(s, "header Content-Type application/json\n",
			"header Content-Type application/json\n\theader Access-Control-Allow-Origin *\n", 1)
	})
	g.start()
	page := http.Header{"Origin": {"http://page.example"}}
	preflight := http.Header{"Origin": {"http://page.example"}, "Access-Control-Request-Method": {"POST"}}
	for name, test := range map[string]struct {
		method, path string
		header       http.Header
	}{
		"a page that has no token": {"GET", "/api/products", page},
		"its preflight":            {"OPTIONS", "/api/products", preflight},
		"dots":                     {"GET", "/api/x/../products", http.Header{"Origin": {"http://page.example"}}},
	} {
		response, body := g.request(test.method, test.path, test.header)
		if origins := response.Header.Values("Access-Control-Allow-Origin"); response.StatusCode != http.StatusOK ||
			len(origins) != 1 || origins[0] != "*" || response.Header.Get("Cache-Control") != "max-age=60" {
			t.Errorf("%s: %d %v\n%s", name, response.StatusCode, response.Header, body)
		}
	}
	token := g.token()
	if _, body := g.api(token); strings.Contains(body, token) {
		t.Errorf("a token that lacks a scope reaches the backend:\n%s", body)
	}
	for decision, want := range map[string]string{"reported": "3", "no_token": "1", "preflight": "1", "malformed": "1",
		"insufficient_scope": "1"} {
		if got := g.metric(`caddy_device_auth_requests_total{decision="` + decision + `"}`); got != want {
			t.Errorf("%s: counted %q, want %s", decision, got, want)
		}
	}
}

// protocol 33
func TestReportOnlyLeavesOtherGuardsAlone(t *testing.T) {
	t.Parallel()
	reports := "device_auth /api/admin/* products:write {\n\t\treport_only\n\t}"
	enforces := "device_auth /api/* products:read"
	for name, lines := range map[string]string{"before": reports + "\n\t" + enforces,
		"after": enforces + "\n\t" + reports} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.configure(func(s string) string { return strings.Replace(s, enforces, "route {\n\t"+lines+"\n\t}", 1) })
			g.start()
			header := http.Header{"Authorization": {"Bearer " + g.token()}, "Remote-User": {"root"}}
			if response, body := g.request("GET", "/api/admin/x", header); response.StatusCode != http.StatusOK ||
				!strings.Contains(body, `"Remote-User": "alice"`) || strings.Contains(body, "Bearer") {
				t.Errorf("%d\n%s", response.StatusCode, body)
			}
			if response, _ := g.request("GET", "/api/admin/x",
				http.Header{}); response.StatusCode != http.StatusUnauthorized {
				t.Errorf("nobody: %d", response.StatusCode)
			}
		})
	}
}

func TestChangedFileOfOldKeysCounts(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	keys := filepath.Join(g.dir, "keys")
	write := func(text string) {
		if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("billing old-key-of-billing\n")
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\tlegacy X-Api-Key "+keys+"\n\t}", 1)
	})
	g.start()
	status := func(key string) int {
		response, _ := g.request("GET", "/api/products", http.Header{"X-Api-Key": {key}})
		return response.StatusCode
	}
	if got := status("old-key-of-billing"); got != http.StatusOK {
		t.Fatalf("before: %d", got)
	}
	write("reports old-key-of-reports\n")
	const pause = 50 * time.Millisecond
	for end := time.Now().Add(5 * time.Second); status("old-key-of-billing") != 401; time.Sleep(pause) {
		if time.Now().After(end) {
			t.Fatal("a key that was taken out goes on")
		}
	}
	if got := status("old-key-of-reports"); got != http.StatusOK {
		t.Errorf("a new key: %d", got)
	}
	write("what is this\n")
	logged := func() bool { return strings.Contains(g.log.String(), "the file cannot be read") }
	for end := time.Now().Add(5 * time.Second); !logged(); time.Sleep(pause) {
		if status("x"); time.Now().After(end) {
			t.Fatalf("nobody is told of a file that cannot be read:\n%s", g.log)
		}
	}
	if got := status("old-key-of-reports"); got != http.StatusOK {
		t.Errorf("after a typing error: %d", got)
	}
	if got := g.metric(`caddy_device_auth_requests_total{decision="unknown_key"}`); got == "" || got == "0" {
		t.Errorf("keys that are none: counted %q", got)
	}
}

// protocol 31
func TestPreflightThatPassesIsNothingElse(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\tpreflight pass\n\t}", 1)
		return strings.Replace(s, `"Authorization": "{header.Authorization}"`,
			`"Override": "{header.X-HTTP-Method-Override}{header.X-HTTP-Method}{header.X_Method_Override}"`, 1)
	})
	g.start()
	header := http.Header{"Access-Control-Request-Method": {"POST"}, "X-Http-Method-Override": {"DELETE"},
		"X-Http-Method": {"DELETE"}, "X_method_override": {"DELETE"}}
	if response, body := g.request("OPTIONS", "/api/products", header); response.StatusCode != http.StatusOK ||
		strings.Contains(body, "DELETE") || !strings.Contains(body, "Override") {
		t.Errorf("%d, the backend saw\n%s", response.StatusCode, body)
	}
}
