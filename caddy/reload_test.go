package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// reloads is how often the configuration is loaded anew. The promise is tried
// out with -reloads 500.
var reloads = flag.Int("reloads", 20, "reloads under load")

// load sends a configuration to the admin endpoint.
func (g *gateway) load(change func(string) string) (status int) {
	g.t.Helper()
	g.configure(change)
	text, err := os.ReadFile(g.config)
	if err != nil {
		g.t.Fatal(err)
	}
	response, err := http.Post("http://"+g.admin+"/load", "text/caddyfile", strings.NewReader(string(text)))
	if err != nil {
		g.t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

var goroutineTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)

// weight is how many goroutines and open files the server has.
func (g *gateway) weight() (goroutines, files int) {
	g.t.Helper()
	_, text := (&gateway{t: g.t, url: "http://" + g.admin}).request("GET", "/debug/pprof/goroutine?debug=1",
		http.Header{})
	goroutines, _ = strconv.Atoi(goroutineTotal.FindStringSubmatch(text)[1])
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
	if err != nil {
		g.t.Skip("this system has no /proc")
	}
	return goroutines, len(entries)
}

// A stubborn client asks again when the connection breaks before an answer.
// Caddy breaks some in a reload, whatever it serves: a connection that is
// accepted as the old server stops is nobody's.
type stubborn struct {
	http.RoundTripper
	broken atomic.Int64
}

func (s *stubborn) RoundTrip(r *http.Request) (*http.Response, error) {
	for tries := 0; ; tries++ {
		answer, err := s.RoundTripper.RoundTrip(r)
		if err == nil || tries == 10 || r.Context().Err() != nil {
			return answer, err
		}
		s.broken.Add(1)
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// The backend is one of the test's own: the demo's is reloaded too.
func TestReloadsUnderLoadFailNothingAndLeaveNothing(t *testing.T) {
	backend := httptest.NewServer(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }))
	defer backend.Close()
	backend.Config.SetKeepAlivesEnabled(false) // Caddy keeps idle connections to a backend for two minutes
	client := withoutKeepAlives(t)
	g := newGateway(t)
	own := g.ports
	g.ports = strings.NewReplacer("reverse_proxy /api/* localhost:8082",
		"reverse_proxy /api/* "+backend.Listener.Addr().String())
	configure := func(change func(string) string) func(string) string {
		return func(s string) string {
			return change(strings.Replace(own.Replace(s), "\tbrand", "\tpending address 100000\n\t\tbrand", 1))
		}
	}
	g.configure(configure(func(s string) string { return s }))
	g.start()
	newPerson(t, "alice").allow(g.device()) // the demo's parts are warm
	d := g.device()
	newPerson(t, "alice").allow(d)
	held := d.poll()
	over := make(chan struct{})
	var asked atomic.Int64
	var wg sync.WaitGroup
	work := func(do func() (status int)) { wg.Go(func() { answeredUntil(t, over, &asked, do) }) }
	for range 2 {
		work(func() int { status, _ := g.api(held.Access); return status })
	}
	another := g.device()
	newPerson(t, "bob").allow(another)
	mine := another.poll()
	work(func() int { mine = g.refresh(mine.Refresh); return mine.Status })
	work(func() int { time.Sleep(10 * time.Millisecond); g.device(); return http.StatusOK })
	if status := g.load(configure(func(s string) string {
		return strings.Replace(s, "Example Store", "Store 0", 1)
	})); status != http.StatusOK {
		t.Fatalf("the first reload: %d", status)
	}
	goroutines, files := settledWeight(g)
	reloadOften(t, g, configure)
	close(over)
	wg.Wait()
	n, f := settledWeight(g)
	t.Logf("%d reloads, %d requests meanwhile, %d connections broken; goroutines %d, then %d; open files %d, then %d",
		*reloads, asked.Load(), client.broken.Load(), goroutines, n, files, f)
	if n > goroutines+10 || f > files+10 { // less than one for each reload
		t.Errorf("something stays: goroutines %d, then %d; open files %d, then %d", goroutines, n, files, f)
	}
}

// withoutKeepAlives has the tests' requests sent on new connections, until the test ends.
func withoutKeepAlives(t *testing.T) *stubborn {
	usual := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = usual })
	single := usual.(*http.Transport).Clone()
	single.DisableKeepAlives = true
	client := &stubborn{RoundTripper: single}
	http.DefaultTransport = client
	return client
}

// answeredUntil sends requests until over is closed. Each is to be answered 200.
func answeredUntil(t *testing.T, over <-chan struct{}, asked *atomic.Int64, do func() (status int)) {
	for {
		select {
		case <-over:
			return
		default:
		}
		if status := do(); status != http.StatusOK {
			t.Errorf("a request is answered %d", status)
			return
		}
		asked.Add(1)
	}
}

// settledWeight counts goroutines and open files: the least of two seconds, because what
// comes and goes is no leak, and hides none.
func settledWeight(g *gateway) (goroutines, files int) {
	goroutines, files = g.weight()
	for range 40 {
		time.Sleep(50 * time.Millisecond)
		n, f := g.weight()
		goroutines, files = min(goroutines, n), min(files, f)
	}
	return goroutines, files
}

// reloadOften reloads with another name each time. Every fifth configuration has a store that
// cannot be opened, and is refused.
func reloadOften(t *testing.T, g *gateway, configure func(func(string) string) func(string) string) {
	t.Helper()
	for i := range *reloads {
		want, broken := http.StatusOK, i%5 == 4
		if broken {
			want = http.StatusBadRequest
		}
		status := g.load(configure(func(s string) string {
			if broken {
				s = strings.Replace(s, "\tbrand", "\tstore badger /proc/nowhere\n\t\tbrand", 1)
			}
			return strings.Replace(s, "Example Store", fmt.Sprintf("Store %d", i+1), 1)
		}))
		if status != want {
			t.Fatalf("reload %d is answered %d, want %d", i, status, want)
		}
	}
}

// A held poll is answered by the configuration that ends, whose server then closes the
// connection: the response says so, and no client sends its next poll into it.
func TestHeldPollIsToldThatAReloadClosesItsConnection(t *testing.T) {
	t.Parallel()
	g := startWith(t, "wait 1m")
	d := g.asksAs("cool-gadget")
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	form := url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
		"client_id":  {"cool-gadget"}, "device_code": {d.Code},
	}.Encode()
	fmt.Fprintf(conn, "POST /oauth2/token HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\n"+
		"Content-Length: %d\r\n\r\n%s", strings.TrimPrefix(g.url, "http://"), len(form), form)
	g.waitHeld(1)
	g.reloadWith("wait 1m", "wait 50s")
	conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(body), "authorization_pending") || !response.Close {
		t.Errorf("%s, %v, closes: %v", body, err, response.Close)
	}
}
