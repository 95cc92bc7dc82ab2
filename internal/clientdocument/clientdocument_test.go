package clientdocument

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A site is a server with TLS on this machine, and a Fetcher that may ask it.
type site struct {
	*httptest.Server
	*Fetcher
	asked atomic.Int32
}

func newSite(t *testing.T, answer http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	s.Fetcher = New(roots, true)
	return s
}

// document answers with a document.
func document(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	fmt.Fprint(w, `{"client_id":"x"}`)
}

// protocol 52
func TestDocumentIsFetched(t *testing.T) {
	t.Parallel()
	s := newSite(t, document)
	got, err := s.Fetch(t.Context(), s.URL+"/a")
	if err != nil || string(got) != `{"client_id":"x"}` {
		t.Errorf("got %q, %v", got, err)
	}
}

// badServers answer wrongly, each with the expected error.
var badServers = map[string]struct {
	answer http.HandlerFunc
	want   string
}{
	"redirect": {func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}, "status 302"},
	"missing": {http.NotFound, "status 404"},
	"html": {func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "{}")
	}, "Content-Type"},
	"no type": {func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		fmt.Fprint(w, "{}")
	}, "Content-Type"},
	"large": {func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, strings.Repeat(" ", maxDocument+1))
	}, "larger than 5120 bytes"},
	"endless": {func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 1<<10)); err != nil {
				return
			}
		}
	}, "larger than 5120 bytes"},
	"cut off": {func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "{")
	}, "cannot be reached"},
	"headers without end": {func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 1<<20))
	}, "cannot be reached"},
}

// protocol 52
func TestBadDocumentIsNamed(t *testing.T) {
	t.Parallel()
	for name, c := range badServers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, c.answer)
			_, err := s.Fetch(t.Context(), s.URL+"/a")
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if s.asked.Load() != 1 {
				t.Errorf("it was asked %d times", s.asked.Load())
			}
		})
	}
}

// A server that answers slowly, at each of the places where it can.
//
// protocol 52
func TestSlowServerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"no answer": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"no body": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, answer)
			began := time.Now()
			_, err := s.Fetch(t.Context(), s.URL+"/a")
			if err == nil || time.Since(began) > 2*timeout {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	}
}

// A listener on this machine is a forbidden address: it must get no connection, under
// any name or spelling of its address.
//
// protocol 52
func TestForbiddenAddressesHearNothing(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", ":0") // all addresses of this machine
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var requests atomic.Int32
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			requests.Add(1)
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	hosts := []string{
		"127.0.0.1", "127.1.2.3", "localhost", "a.localhost", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]",
		"[::ffff:7f00:1]", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
		"169.254.169.254", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]",
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if network, ok := a.(*net.IPNet); ok && !isPublic(netip.MustParseAddr(network.IP.String())) {
			hosts = append(hosts, strings.TrimSuffix(net.JoinHostPort(network.IP.String(), ""), ":"))
		}
	}
	f := New(nil, false)
	for _, host := range hosts {
		if _, err := f.Fetch(t.Context(), "https://"+host+":"+port+"/a"); err == nil {
			t.Errorf("%s was fetched", host)
		}
	}
	if n := requests.Load(); n > 0 {
		t.Errorf("%d connections were made", n)
	}
}

// A name that leads to a public address when it is looked at, and to this machine when it
// is connected to: the check is of the connection.
//
// protocol 52
func TestRebindingIsRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, document)
	f := New(nil, false)
	transport := f.client.Transport.(*http.Transport)
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dial(ctx, network, "127.0.0.1:"+port) // what the second look-up says
	}
	if _, err := f.Fetch(t.Context(), "https://client.example.com/a"); err == nil ||
		err.Error() != "its host has no public address" {
		t.Errorf("got %v", err)
	}
	if s.asked.Load() > 0 {
		t.Error("it was asked")
	}
}

func TestCertificateIsChecked(t *testing.T) {
	t.Parallel()
	s := newSite(t, document)
	f := New(x509.NewCertPool(), true)
	if _, err := f.Fetch(t.Context(), s.URL+"/a"); err == nil {
		t.Error("a certificate that nobody signed is taken")
	}
	old := newSite(t, document)
	old.TLS.MinVersion, old.TLS.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := old.Fetch(t.Context(), old.URL+"/a"); err == nil {
		t.Error("TLS 1.1 is taken")
	}
}

// protocol 52
func TestOneFetchServesAllWhoWait(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		<-release
		document(w, r)
	})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := s.Fetch(t.Context(), s.URL+"/a"); err != nil {
				t.Error(err)
			}
		})
	}
	close(release)
	all.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

// protocol 52
func TestDocumentIsKeptAsItsServerSays(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"": minKept, "no-store": minKept, "max-age=0": minKept, "max-age=x": minKept, "max-age=-1": minKept,
		"public, Max-Age=3600": time.Hour, `max-age="3600"`: time.Hour, "max-age=999999": maxKept,
		"max-age=99999999999999999999": minKept,
	} {
		if got := cacheTime(header); got != want {
			t.Errorf("%q: kept for %v, want %v", header, got, want)
		}
	}
}

// protocol 52
func TestDocumentIsUsedWhileItsServerIsAway(t *testing.T) {
	t.Parallel()
	var status atomic.Int32
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		if int(status.Load()) != http.StatusOK {
			w.WriteHeader(int(status.Load()))
			return
		}
		document(w, r)
	})
	now := time.Now()
	s.now = func() time.Time { return now }
	for i, step := range []struct {
		after   time.Duration
		status  int
		asked   int32 // how often the server has been asked after this step
		wantErr bool
	}{
		{0, http.StatusOK, 1, false},
		{0, http.StatusOK, 1, false},
		{minKept, http.StatusInternalServerError, 2, false}, // the previous document is used for a day
		{failureKept - time.Second, http.StatusInternalServerError, 2, false},
		{maxKept, http.StatusInternalServerError, 3, true},
		{failureKept - time.Second, http.StatusInternalServerError, 3, true},
		{time.Second, http.StatusOK, 4, false},
		{-time.Hour, http.StatusOK, 4, false},                // the clock was set back
		{time.Hour + minKept, http.StatusNotFound, 5, false}, // as while the site is deployed anew
		{failureKept, http.StatusForbidden, 6, true},         // which is meant
		{failureKept, http.StatusNotFound, 7, true},          // there was none before
		{failureKept, http.StatusOK, 8, false},
	} {
		now = now.Add(step.after)
		status.Store(int32(step.status))
		_, err := s.Fetch(t.Context(), s.URL+"/a")
		if (err != nil) != step.wantErr || s.asked.Load() != step.asked {
			t.Errorf("step %d: %v, asked %d times, want %d", i, err, s.asked.Load(), step.asked)
		}
	}
}

func TestKeptDocumentsAreBounded(t *testing.T) {
	t.Parallel()
	f := New(nil, false)
	s := newSite(t, document)
	s.Fetch(t.Context(), s.URL+"/good")
	for i := range 3 * maxDocuments {
		f.Fetch(t.Context(), fmt.Sprintf("https://127.0.0.%d:1/%d", i/maxHostFetches, i))
	}
	if len(f.kept) > maxDocuments {
		t.Errorf("%d documents are kept", len(f.kept))
	}
	for i := range 3 * maxDocuments { // failures, of as many hosts as it takes, push no document out
		s.Fetch(t.Context(), fmt.Sprintf("https://[::ffff:10.0.%d.1]/%d", i/maxHostFetches, i))
	}
	s.Fetch(t.Context(), s.URL+"/good")
	if n := s.asked.Load(); n != 1 {
		t.Errorf("the good document was fetched %d times", n)
	}
}

func TestFetchesOfOneHostAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t, document)
	for i := range 2 * maxHostFetches {
		s.Fetch(t.Context(), fmt.Sprintf("%s/%d", s.URL, i))
	}
	if n := s.asked.Load(); n != maxHostFetches {
		t.Errorf("%d requests in a minute, want %d", n, maxHostFetches)
	}
	if _, err := s.Fetch(t.Context(), s.URL+"/1"); err != nil { // which is kept
		t.Error(err)
	}
}

func TestFetchesUnderWayAreBounded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	s := newSite(t, func(_ http.ResponseWriter, r *http.Request) { <-ctx.Done() })
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for i := range maxFetches {
		all.Go(func() { s.Fetch(ctx, fmt.Sprintf("%s/%d", s.URL, i)) })
	}
	for s.asked.Load() < maxFetches {
		select {
		case <-time.After(time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("they did not begin")
		}
	}
	if _, err := s.Fetch(t.Context(), s.URL+"/x"); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("got %v", err)
	}
}

func TestWhoGoesAwayIsNotWaitedWith(t *testing.T) {
	t.Parallel()
	asked := make(chan struct{})
	s := newSite(t, func(_ http.ResponseWriter, r *http.Request) { close(asked); <-r.Context().Done() })
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan struct{})
	go func() { defer close(first); s.Fetch(t.Context(), s.URL+"/a") }()
	<-asked
	cancel()
	if _, err := s.Fetch(ctx, s.URL+"/a"); err == nil || err.Error() != "the request ended first" {
		t.Errorf("got %v", err)
	}
	<-first
}

func TestPublicAddresses(t *testing.T) {
	for _, text := range []string{"8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"} {
		if !isPublic(netip.MustParseAddr(text)) {
			t.Errorf("%s is public", text)
		}
	}
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.169.254", "172.31.0.1", "192.0.0.1",
		"192.0.2.1", "192.168.0.1", "198.19.0.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::",
		"::1", "::ffff:10.0.0.1", "::7f00:1", "64:ff9b::a00:1", "64:ff9b::7f00:1",
		"64:ff9b::a9fe:a9fe", "64:ff9b::a00:1%eth0", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1",
		"2002:7f00:1::", "fc00::1", "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "5f00::1", "3fff::1",
	} {
		if isPublic(netip.MustParseAddr(text)) {
			t.Errorf("%s is not public", text)
		}
	}
}
