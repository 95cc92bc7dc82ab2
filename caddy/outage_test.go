package main

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// A store that is away under load is a few lines, however many requests it costs, and
// none of them is a stack trace.
func TestOutageIsAFewLines(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	g := startWith(t, "store redis "+server.URL())
	token := g.connect("alice")
	server.Kill()
	began := len(g.log.String())
	const n = 100
	var asking sync.WaitGroup
	for i := range n {
		path, form := "/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}}
		if i%2 == 0 {
			path = "/oauth2/token"
			form.Set("grant_type", "refresh_token")
			form.Set("refresh_token", token.Refresh)
		}
		asking.Go(func() { // a change waits for seconds
			response, err := http.PostForm(g.url+path, form)
			if err != nil {
				t.Error(err)
				return
			}
			response.Body.Close()
		})
	}
	asking.Wait()
	for range n {
		if status, _ := g.api(token.Access); status != http.StatusServiceUnavailable {
			t.Fatalf("the guard answers %d", status)
		}
	}
	server.Start()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if status, _ := g.api(token.Access); status == http.StatusOK {
			break
		} else if time.Now().After(end) {
			t.Fatalf("it does not heal: %d", status)
		}
	}
	g.log.wait(t, "redis is back")
	logged := g.log.String()[began:]
	if lines := strings.Count(logged, `"level":"error"`); lines == 0 || lines > 6 {
		t.Errorf("%d lines for %d requests:\n%s", lines, 2*n, logged)
	}
	for _, trace := range []string{"stacktrace", "goroutine ", ".go:"} {
		if strings.Contains(logged, trace) {
			t.Errorf("%q in the log:\n%s", trace, logged)
		}
	}
}
