package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
)

// startBefore runs a gateway whose legacy API is another one.
func startBefore(t *testing.T, backend string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(func(s string) string {
		s = strings.Replace(s, "\tdefault_bind", "\tservers {\n\t\tprotocols h1 h2c\n\t}\n\tdefault_bind", 1)
		head, tail, _ := strings.Cut(s, "reverse_proxy /api/* ")
		_, tail, _ = strings.Cut(tail, "\n")
		return strings.Replace(head, "device_auth /api/* products:read",
			"device_auth /api/* products:read\n\tdevice_auth /grpc.health.v1.Health/*", 1) + "reverse_proxy /api/* " +
			backend + "\n\treverse_proxy /grpc.health.v1.Health/* h2c://" + backend + "\n" + tail
	})
	g.start()
	return g
}

func address(server *httptest.Server) string { return server.Listener.Addr().String() }

// What a client sends after its upgrade, as a WebSocket does, goes both ways.
func TestWebSocketPassesTheGuard(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Remote-User") != "alice" || r.Header.Get("Authorization") != "" ||
			r.Header.Get("Upgrade") != "websocket" {
			t.Errorf("the backend sees %v", r.Header)
		}
		switchAndEcho(t, w)
	}))
	defer backend.Close()
	g := startBefore(t, address(backend))
	conn, in := g.upgrade(g.token())
	for _, text := range []string{"hello\n", "and again\n"} {
		io.WriteString(conn, text)
		if echo, err := in.ReadString('\n'); err != nil || echo != text {
			t.Errorf("%v: sent %q, got %q", err, text, echo)
		}
	}
}

// upgrade opens something like a WebSocket.
func (g *gateway) upgrade(token string) (net.Conn, *bufio.Reader) {
	g.t.Helper()
	host := strings.TrimPrefix(g.url, "http://")
	conn, err := net.Dial("tcp", strings.Replace(host, "localhost", "127.0.0.1", 1))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET /api/socket HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nUpgrade: websocket\r\n"+
		"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host, token)
	in := bufio.NewReader(conn)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		g.t.Fatalf("%v, %+v", err, answer)
	}
	return conn, in
}

// switchAndEcho is a backend's half of something like a WebSocket.
func switchAndEcho(t *testing.T, w http.ResponseWriter) {
	conn, both, err := http.NewResponseController(w).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(both, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
	both.Flush()
	io.Copy(conn, both)
}

// startEndless runs a gateway before a backend that comes to no end: with
// events that hardly ever come, or all the time, a large file, or an echo. gone
// hears of each that has ended.
func startEndless(t *testing.T) (g *gateway, gone chan string) {
	gone = make(chan string, 20)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "" {
			switchAndEcho(t, w)
			return
		}
		control := http.NewResponseController(w)
		if r.URL.Path == "/api/file" {
			w.Header().Set("Content-Length", strconv.FormatInt(1<<40, 10))
		}
		control.Flush()
		for r.URL.Path != "/api/idle" && r.Context().Err() == nil {
			io.WriteString(w, "data: x\n\n")
			control.Flush()
		}
		<-r.Context().Done()
		gone <- r.URL.Path
	}))
	t.Cleanup(backend.Close)
	return startBefore(t, address(backend)), gone
}

// stream opens an answer that goes on, in HTTP/1.1 or HTTP/2.
func (g *gateway) stream(token, path string, major int) io.ReadCloser {
	g.t.Helper()
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(major == 1)
	transport.Protocols.SetUnencryptedHTTP2(major == 2)
	g.t.Cleanup(transport.CloseIdleConnections)
	r, err := http.NewRequestWithContext(g.t.Context(), "GET", g.url+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := transport.RoundTrip(r)
	if err != nil || answer.StatusCode != http.StatusOK || answer.ProtoMajor != major {
		g.t.Fatal(answer, err)
	}
	return answer.Body
}

// What was opened before a device was cut off is no way in either, and what
// others opened goes on.
//
// protocol 24
func TestStreamsEndWithTheirDevice(t *testing.T) {
	t.Parallel()
	g, gone := startEndless(t)
	lost, kept := g.connect("alice"), g.connect("alice")
	bodies := map[string]io.ReadCloser{}
	for _, path := range []string{"/api/idle", "/api/busy", "/api/file"} {
		for _, major := range []int{1, 2} {
			bodies[path+" HTTP/"+strconv.Itoa(major)] = g.stream(lost.Access, path, major)
		}
	}
	_, in := g.upgrade(lost.Access)
	other, echo := g.upgrade(kept.Access)
	start := time.Now()
	if status := g.revoke(lost.Refresh); status != http.StatusOK {
		t.Fatal(status)
	}
	if text, err := in.ReadString('\n'); err == nil {
		t.Errorf("the WebSocket goes on: %q", text)
	}
	for name, body := range bodies {
		if _, err := io.Copy(io.Discard, body); err == nil {
			t.Errorf("%s ended well", name)
		}
		body.Close()
		<-gone
	}
	t.Logf("all had ended after %v", time.Since(start))
	io.WriteString(other, "still here\n")
	if text, err := echo.ReadString('\n'); err != nil || text != "still here\n" {
		t.Errorf("another device's: %q, %v", text, err)
	}
}

// protocol 24
func TestStreamsEndWithTheirClient(t *testing.T) {
	t.Parallel()
	g, _ := startEndless(t)
	body := g.stream(g.token(), "/api/idle", 1)
	defer body.Close()
	text, err := os.ReadFile(g.config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(g.config,
		bytes.Replace(text, []byte("client cool-gadget"), []byte("client another-gadget"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := g.reload(); err != nil {
		t.Fatal(err, out)
	}
	if _, err := io.Copy(io.Discard, body); err == nil {
		t.Error("it ended well")
	}
}

// Each event arrives before the next one is sent.
func TestServerSentEventsPassAtOnce(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			http.NewResponseController(w).Flush()
			select {
			case <-arrived:
			case <-r.Context().Done():
			}
		}
	}))
	defer backend.Close()
	g := startBefore(t, address(backend))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url+"/api/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.token())
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for i := range 3 {
		if !lines.Scan() || lines.Text() != "data: "+strconv.Itoa(i) {
			t.Fatalf("event %d: %q, %v", i, lines.Text(), lines.Err())
		}
		lines.Scan()
		arrived <- struct{}{}
	}
}

// memory is the most that the server ever had in memory, in bytes.
func (g *gateway) memory() int {
	g.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.t.Skip("this system does not tell the memory of a process")
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		g.t.Fatal(err)
	}
	return kib << 10
}

func TestUploadOfAGibibyteTakesNoMemory(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	received := make(chan int64, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		received <- n
	}))
	defer backend.Close()
	g := startBefore(t, address(backend))
	token := g.token()
	before := g.memory()
	r, err := http.NewRequest(http.MethodPost, g.url+"/api/upload", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = size
	r.Header.Set("Authorization", "Bearer "+token)
	answer, err := http.DefaultClient.Do(r)
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("%v, %+v", err, answer)
	}
	answer.Body.Close()
	if n := <-received; n != size {
		t.Errorf("%d bytes arrived", n)
	}
	grown := g.memory() - before
	t.Logf("%d MiB uploaded; the server's memory grew by %.1f MiB, from %.1f", size>>20, float64(grown)/(1<<20),
		float64(before)/(1<<20))
	if grown > 32<<20 {
		t.Errorf("the server's memory grew by %d MiB", grown>>20)
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestGRPCPassesTheGuard(t *testing.T) {
	t.Parallel()
	server := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go server.Serve(l)
	defer server.Stop()
	g := startBefore(t, l.Addr().String())
	conn, err := grpc.NewClient(strings.TrimPrefix(g.url, "http://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	if _, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{}); err == nil {
		t.Error("a call without a token is answered")
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+g.token())
	answer, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", answer, err)
	}
	watch, err := client.Watch(ctx, &grpc_health_v1.HealthCheckRequest{}) // a stream that stays open
	if err != nil {
		t.Fatal(err)
	}
	if event, err := watch.Recv(); err != nil || event.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("%v, %v", event, err)
	}
}

// protocol 33
func TestTrailersTellNoIdentity(t *testing.T) {
	t.Parallel()
	got := make(chan http.Header, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got <- r.Trailer
	}))
	defer backend.Close()
	g := startBefore(t, address(backend))
	token := g.token()
	for _, announced := range []string{"X-Checksum", "X-Checksum, Remote-User"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST /api/x HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nAuthorization: Bearer %s\r\n"+
			"Trailer: %s\r\nTransfer-Encoding: chunked\r\n\r\n"+
			"2\r\nhi\r\n0\r\nX-Checksum: abc\r\nRemote-User: root\r\nremote_email: root\r\n\r\n",
			strings.TrimPrefix(g.url, "http://"), token, announced)
		answer, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200") {
			t.Fatalf("%v, %s", err, answer)
		}
		if trailer := <-got; len(trailer) != 1 || trailer.Get("X-Checksum") != "abc" {
			t.Errorf("announced %s: the backend saw the trailers %v", announced, trailer)
		}
	}
}
