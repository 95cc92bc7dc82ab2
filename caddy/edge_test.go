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
	return g.instead("\tdevice_auth /api/* products:read {\n\t\tissuer " + g.url +
		"\n\t\tclient edge only-for-this-test\n" + more + "\t}\n\treverse_proxy /api/* " + g.legacy)
}

const edgeClient = "client edge {\n\t\t\tsecret only-for-this-test\n\t\t\tguard\n\t\t}"

// protocol 24, 33
func TestGuardFarFromItsServer(t *testing.T) {
	t.Parallel()
	g := startWith(t, edgeClient)
	edge := g.edge("")
	d := g.device()
	newPerson(t, "alice").allow(d)
	tokens := d.poll()
	response, body := edge.request("GET", "/api/products",
		http.Header{"Authorization": {"Bearer " + tokens.Access}, "Remote_user": {"root"}, "Remote-Groups": {"root"}})
	for _, want := range []string{`"Remote-User": "alice"`, `"Remote-Email": "alice@example.com"`,
		`"Remote-Groups": "device-owners,staff"`, `"Remote-Client": "cool-gadget"`, `"Authorization": ""`} {
		if response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, want 200 and %s in:\n%s", response.StatusCode, want, body)
		}
	}
	response, _ = edge.request("GET", "/api/products", http.Header{})
	if challenge := response.Header.Get("WWW-Authenticate"); response.StatusCode != http.StatusUnauthorized ||
		!strings.Contains(challenge, edge.url+"/.well-known/oauth-protected-resource") {
		t.Errorf("without a token: %d %q", response.StatusCode, challenge)
	}
	if response, body := edge.request("GET", "/.well-known/oauth-protected-resource/api",
		http.Header{}); response.StatusCode != http.StatusNotFound || !strings.Contains(body, g.url) {
		t.Errorf("the site, for which there are no tokens, describes itself as %d %s", response.StatusCode, body)
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

// protocol 34
func TestPagesOfAnOriginMayReadWhatAGuardFarAwayLetsThrough(t *testing.T) {
	t.Parallel()
	g := startWith(t, edgeClient)
	edge := g.edge("\t\torigin https://tv.example\n")
	token := g.token()
	for origin, allowed := range map[string]string{"https://tv.example": "https://tv.example",
		"https://evil.example": ""} {
		response, _ := edge.request("OPTIONS", "/api/products",
			http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"GET"},
				"Access-Control-Request-Headers": {"authorization"}})
		if got := response.Header.Get("Access-Control-Allow-Origin"); response.StatusCode != http.StatusNoContent ||
			got != allowed ||
			(response.Header.Get("Access-Control-Allow-Headers") == "authorization") != (allowed != "") {
			t.Errorf("%s: preflight: %d %v", origin, response.StatusCode, response.Header)
		}
		for authorization, status := range map[string]int{"Bearer " + token: http.StatusOK,
			"Bearer x": http.StatusUnauthorized} {
			response, _ := edge.request("GET", "/api/products",
				http.Header{"Origin": {origin}, "Authorization": {authorization}})
			if got := response.Header.Get("Access-Control-Allow-Origin"); response.StatusCode != status ||
				got != allowed {
				t.Errorf("%s: %d, want %d; %v", origin, response.StatusCode, status, response.Header)
			}
		}
	}
}

// The server's own guards take its default audience; one far away knows the
// issuer alone, and says in the log what to do.
func TestGuardFarAwaySaysWhichAudienceItWasNotTold(t *testing.T) {
	t.Parallel()
	g := startWith(t, edgeClient+"\n\t\taudience https://things.example")
	without, with := g.edge(""), g.edge("\t\taudience https://things.example\n")
	token := g.token()
	for guard, want := range map[*gateway]int{g: http.StatusOK, with: http.StatusOK, without: http.StatusUnauthorized} {
		for range 3 {
			if status, body := guard.api(token); status != want {
				t.Errorf("%d, want %d: %s", status, want, body)
			}
		}
	}
	const hint = "add a line with the word audience"
	if log := without.log.String(); strings.Count(log, hint) != 1 || !strings.Contains(log, "https://things.example") ||
		strings.Contains(log, token) {
		t.Errorf("the log has not one hint, or the token:\n%s", log)
	}
	if log := with.log.String(); strings.Contains(log, hint) {
		t.Errorf("there is a hint where the audience was said:\n%s", log)
	}
}

func TestGuardFarFromItsServerHealsByItself(t *testing.T) {
	t.Parallel()
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
