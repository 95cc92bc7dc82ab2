package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

var proxied = regexp.MustCompile(`(reverse_proxy (?:@\S+ |/\S+ )?)(?:127\.0\.0\.1|localhost):\d+`)

// protocol 31, 33: what we hand out as examples is attacked as everything else.
func TestExamplesHoldForEverySpellingAndTarget(t *testing.T) {
	t.Parallel()
	backend := startGoBackend(t)
	for name, start := range boundaryExamples(backend) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t)
			host := strings.TrimPrefix(g.url, "http://")
			w, reached := &wire{t: t, at: strings.Replace(host, "localhost", "127.0.0.1", 1)}, 0
			n := 1000
			if testing.Short() {
				n = 200
			}
			all := append(spellings(n), targets(host)...)
			for _, target := range append(all, "/status", "/elsewhere") {
				request := "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + lies + "\r\n"
				status, body := w.send(request)
				var s seen
				if json.Unmarshal([]byte(body), &s) != nil || s.Target == "" {
					continue
				}
				reached++
				if headers := strings.ReplaceAll(fmt.Sprint(s.Headers), "X-User root", ""); s.Secret ||
					strings.Contains(headers, "root") || strings.Contains(headers, "admins") ||
					strings.Contains(headers, "device_") {
					t.Errorf("%.200q: %d: %s", request, status, body)
				}
			}
			open := map[string]bool{"README": true, "per-path-scopes": true}[name]
			if (reached > 0) != open {
				t.Errorf("%d requests reached the backend", reached)
			}
			if name == "root" || name == "README" {
				if status, _ := w.send("GET /v2/secret HTTP/1.1\r\nHost: " + host +
					"\r\n\r\n"); status != http.StatusUnauthorized {
					t.Errorf("plainly: %d", status)
				}
			}
		})
	}
}

// boundaryExamples start each of the examples, with a backend of the tests in place of its own.
func boundaryExamples(backend string) map[string]func(t *testing.T) *gateway {
	before := func(s string) string { return proxied.ReplaceAllString(s, "${1}"+backend) }
	ownSite := regexp.MustCompile(`issuer http\S+`)
	examples := map[string]func(t *testing.T) *gateway{
		"root": func(t *testing.T) *gateway {
			g := newGateway(t)
			g.configure(func(s string) string { return strings.ReplaceAll(before(s), "/api/*", "/v2/*") })
			g.start()
			return g
		},
		"edge": func(t *testing.T) *gateway {
			server := startWith(t, edgeClient)
			return startExample(t, "edge", "",
				func(s string) string { return ownSite.ReplaceAllString(before(s), "issuer "+server.url) }).gateway
		},
		"load-balancer": func(t *testing.T) *gateway {
			return startExample(t, "load-balancer", "", before, "REDIS_URL="+redistest.Start(t).URL()).gateway
		},
	}
	for _, name := range []string{"README", "minimal", "several-sites", "legacy-basic", "per-path-scopes", "websocket",
		"grafana", "mcp"} {
		examples[name] = func(t *testing.T) *gateway { return startExample(t, name, "", before).gateway }
	}
	return examples
}
