package caddymodule

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A stream is a request that was let through and may go on for long: a
// WebSocket, server-sent events, gRPC, a large file. It is broken off when its
// device is cut off, or its connection is over and forgotten. An access token
// that ends breaks off nothing: it was good when the request came.
type stream struct {
	caddyhttp.ResponseWriterWrapper
	app   *App
	grant deviceauth.ID

	broken atomic.Bool
	mu     sync.Mutex
	conn   net.Conn // of a protocol that was switched to
	timer  *time.Timer
	ended  bool
}

// streamLook is how often the grant of a stream is looked at. With Redis it may
// be 0.8 s behind; both together are a second.
const streamLook = 200 * time.Millisecond

func newStream(w http.ResponseWriter, app *App, grant deviceauth.ID) *stream {
	s := &stream{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, app: app, grant: grant}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(streamLook, s.look)
	return s
}

func (s *stream) look() {
	alive, known := s.app.lives(s.grant)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || !known: // Caddy sees to what a configuration served that is gone
	case alive:
		s.timer.Reset(streamLook)
	default:
		s.breakOff()
	}
}

// lives reports whether a grant lives for the server that serves now, where
// that can be known. A store that is away breaks off nothing.
func (a *App) lives(grant deviceauth.ID) (alive, known bool) {
	server := a.line.serves.Load()
	if server == nil {
		server = a.await(context.Background())
	}
	if server == nil || !server.place.enter() {
		return false, false
	}
	defer server.place.leave()
	alive, err := server.engine.Lives(context.Background(), grant)
	return alive || err != nil, true
}

// breakOff closes what was switched to. Otherwise it is too late to write, and
// to read, at once, which ends the request on both sides, whoever waits for what.
func (s *stream) breakOff() {
	if s.conn != nil {
		s.conn.Close()
		return
	}
	past := time.Unix(1, 0)
	s.broken.Store(true)
	http.NewResponseController(s.ResponseWriter).SetReadDeadline(past)
	// The server's own writer can be told from here. Those around it cannot:
	// they belong to whoever writes, who may be about to.
	http.NewResponseController(innermost(s.ResponseWriter)).SetWriteDeadline(past)
}

func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

var errCutOff = errors.New("the device was cut off")

// Write refuses after the end: whoever writes would set a new deadline.
func (s *stream) Write(p []byte) (int, error) {
	if s.broken.Load() {
		return 0, errCutOff
	}
	return s.ResponseWriterWrapper.Write(p)
}

// ReadFrom is the same for copies.
func (s *stream) ReadFrom(from io.Reader) (int64, error) {
	if s.broken.Load() {
		return 0, errCutOff
	}
	return s.ResponseWriterWrapper.ReadFrom(from)
}

// end is for whoever has served the request.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true // the connection may go on with another request
	s.timer.Stop()
}

// FlushError has part of the answer sent before the rest is there.
func (s *stream) FlushError() error {
	if s.broken.Load() {
		return errCutOff
	}
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (s *stream) Flush() { s.FlushError() }

// Hijack switches to another protocol.
func (s *stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, both, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err == nil {
		s.mu.Lock()
		s.conn = conn
		s.mu.Unlock()
	}
	return conn, both, err
}
