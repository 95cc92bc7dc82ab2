package main

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// A Redis that is ten seconds late when the machine boots keeps no other site from
// being served: what needs it is 503 until it is there, and then as ever.
func TestRedisThatIsLateAtBootKeepsNoOtherSiteAway(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	server.Kill()
	other := "http://localhost:" + loadtest.FreePorts(1)[0]
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "\tbrand", "\tstore redis "+server.URL()+"\n\t\tbrand", 1) + "\n" + other +
			" {\n\trespond \"the other site\"\n}\n"
	})
	began := time.Now()
	g.start()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it starts after %v", took)
	}
	for time.Since(began) < 11*time.Second {
		g.isAway(other)
		time.Sleep(500 * time.Millisecond)
	}
	server.Start()
	for end := time.Now().Add(10 * time.Second); !g.givesCodes(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not heal:\n%s", g.log)
		}
	}
	if status, _ := g.api(g.token()); status != http.StatusOK {
		t.Errorf("a device that was connected then: %d", status)
	}
	for _, want := range []string{"the store is away; what needs it is answered 503 until it is there",
		"the store is there"} {
		if strings.Count(g.log.String(), want) != 1 {
			t.Errorf("the log says %q %d times", want, strings.Count(g.log.String(), want))
		}
	}
	if out, err := g.reload(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// A gateway whose Redis is not there stops, and a reload to such a Redis fails while
// the configuration before goes on.
func TestStopAndReloadWithoutRedis(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "localhost:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	g := start(t)
	token := g.token()
	without := func() {
		g.configure(func(s string) string {
			return strings.Replace(s, "\tbrand", "\tstore redis redis://"+silent.Addr().String()+"\n\t\tbrand", 1)
		})
	}
	without()
	if out, err := g.reload(); err == nil || !strings.Contains(out, "the server does not answer") {
		t.Errorf("the reload: %v\n%s", err, out)
	}
	if status, _ := g.api(token); status != http.StatusOK {
		t.Errorf("after the reload: %d", status)
	}
	for _, waited := range []time.Duration{0, 700 * time.Millisecond, 2 * time.Second} {
		late := newGateway(t)
		late.configure(func(s string) string {
			return strings.Replace(s, "\tbrand", "\tstore redis redis://"+silent.Addr().String()+"\n\t\tbrand", 1)
		})
		late.start()
		time.Sleep(waited)
		late.ends(stopTime)
	}
}

// givesCodes reports whether a device gets a code.
func (g *gateway) givesCodes() bool {
	response, _ := g.askForCode()
	return response.StatusCode == http.StatusOK
}

// isAway wants the device login and the guard to say soon that they cannot be used, and
// another site to be served.
func (g *gateway) isAway(other string) {
	g.t.Helper()
	response, text := (&gateway{t: g.t, url: other}).request("GET", "/", http.Header{})
	if response.StatusCode != http.StatusOK || text != "the other site" {
		g.t.Fatalf("the other site: %d %s", response.StatusCode, text)
	}
	asked := time.Now()
	response, _ = g.askForCode()
	if response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		g.t.Fatalf("a device: %d, Retry-After %q", response.StatusCode, response.Header.Get("Retry-After"))
	}
	if status, _ := g.api("a.b.c"); status != http.StatusServiceUnavailable {
		g.t.Fatalf("the guard: %d", status)
	}
	if took := time.Since(asked); took > 2*time.Second {
		g.t.Errorf("503 takes %v", took)
	}
}
