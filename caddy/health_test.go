package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

const healthPath = "/healthz"

// probe asks whether a gateway works, on its site and on the admin endpoint, and wants
// one answer of both.
func (g *gateway) probe(status int, want string) {
	g.t.Helper()
	began := time.Now()
	response, body := g.request("GET", healthPath, http.Header{})
	cache := response.Header.Get("Cache-Control")
	if response.StatusCode != status || strings.TrimSpace(body) != want || cache != "no-store" {
		g.t.Errorf("%s: %d %s %v, want %d %s", healthPath, response.StatusCode, body, response.Header, status, want)
	}
	if got, text := g.ask("GET", "health", ""); got != status || strings.TrimSpace(text) != want {
		g.t.Errorf("the admin endpoint: %d %s", got, text)
	}
	if took := time.Since(began); took > 4*time.Second {
		g.t.Errorf("two answers take %v", took)
	}
	out, err := g.auth("health")
	_, reason, _ := strings.Cut(strings.TrimSuffix(want, `"}`), `"reason":"`)
	if (err == nil) != (status == http.StatusOK) || !strings.Contains(out, reason) || strings.Contains(out, "{") {
		g.t.Errorf("the command: %v\n%s", err, out)
	}
}

func TestHealthSaysWhetherTheStoreAnswers(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--requirepass", "only-for-this-test")
	g := newGateway(t)
	g.configure(func(s string) string {
		store := "store redis " + server.URL() + " {\n\t\t\tpassword only-for-this-test\n\t\t}"
		return strings.Replace(s, "\tbrand", "\thealth "+healthPath+"\n\t\t"+store+"\n\t\tbrand", 1)
	})
	g.start()
	const ok, prefix = `{"status":"ok"}`, `{"status":"unavailable","reason":"`
	g.probe(http.StatusOK, ok)
	if response, body := g.request("HEAD", healthPath, http.Header{}); response.StatusCode != http.StatusOK ||
		body != "" {
		t.Errorf("HEAD: %d %s", response.StatusCode, body)
	}
	response, _ := g.request("POST", healthPath, http.Header{})
	if allow := response.Header.Get("Allow"); response.StatusCode != http.StatusMethodNotAllowed ||
		allow != "GET, HEAD" {
		t.Errorf("POST: %d %v", response.StatusCode, response.Header)
	}
	server.Pause() // it hangs: connections stay, and nothing comes
	g.until(http.StatusServiceUnavailable)
	g.probe(http.StatusServiceUnavailable, prefix+`the store does not answer"}`)
	server.Resume()
	g.until(http.StatusOK)
	server.Kill()
	g.until(http.StatusServiceUnavailable)
	g.probe(http.StatusServiceUnavailable, prefix+`the store answers with an error, which is in the log"}`)
	log := g.log.String()
	if strings.Contains(log, "only-for-this-test") ||
		!strings.Contains(log, "the store failed at a look at its health") {
		t.Errorf("the log does not say why, or says too much:\n%s", log)
	}
	late := newGateway(t)
	late.configure(func(s string) string {
		store := "store redis " + server.URL()
		return strings.Replace(s, "\tbrand", "\thealth "+healthPath+"\n\t\t"+store+"\n\t\tbrand", 1)
	})
	late.start()
	late.probe(http.StatusServiceUnavailable, prefix+`the store is away since the start, and is waited for"}`)
	server.Start()
	g.until(http.StatusOK)
	g.probe(http.StatusOK, ok)
}

// until waits for an answer to a probe.
func (g *gateway) until(status int) {
	g.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		response, body := g.request("GET", healthPath, http.Header{})
		if response.StatusCode == status {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("still %d %s", response.StatusCode, body)
		}
	}
}

// Without the option nothing is served, and without a gateway the command fails.
func TestHealthIsServedWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	g := start(t)
	if _, body := g.request("GET", healthPath, http.Header{}); strings.Contains(body, `"status"`) {
		t.Errorf("it is served unasked: %s", body)
	}
	if status, text := g.ask("GET", "health", ""); status != http.StatusOK {
		t.Errorf("%d %s", status, text)
	}
	g.kill()
	if out, err := g.auth("health"); err == nil || !strings.Contains(out, "refused") {
		t.Errorf("without a gateway: %v\n%s", err, out)
	}
	plain := newGateway(t).instead("\trespond hello")
	if out, err := plain.auth("health"); err == nil || !strings.Contains(out, "this Caddy has no device_login") {
		t.Errorf("without a device_login: %v\n%s", err, out)
	}
}
