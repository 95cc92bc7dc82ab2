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

// A stream is an answer that may go on for long after its request was let
// through: a WebSocket, server-sent events, gRPC. It is broken off when the
// device behind it is cut off. An access token that ends breaks off nothing: it
// was good when the request came.
type stream struct {
	caddyhttp.ResponseWriterWrapper
	app   *App
	grant deviceauth.ID

	broken atomic.Bool
	mu     sync.Mutex
	conn   net.Conn    // of a protocol that was switched to
	timer  *time.Timer // nil until the answer turns out to go on
	ended  bool
}

// streamLook is how often the grant of a stream is looked at.
const streamLook = 500 * time.Millisecond

func (s *stream) watch(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if conn != nil {
		s.conn = conn
	}
	if s.timer == nil {
		s.timer = time.AfterFunc(streamLook, s.look)
	}
}

func (s *stream) look() {
	alive, known := s.app.lives(s.grant)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended || !known: // of a configuration that is gone Caddy sees to what it served
	case alive:
		s.timer.Reset(streamLook)
	default:
		s.breakOff()
	}
}

// lives reports whether a grant lives, where that can be known. A store that is
// away breaks off nothing.
func (a *App) lives(grant deviceauth.ID) (alive, known bool) {
	server := a.await(context.Background())
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
	if s.timer != nil {
		s.timer.Stop()
	}
}

// FlushError has part of the answer sent before the rest is there.
func (s *stream) FlushError() error {
	if s.broken.Load() {
		return errCutOff
	}
	s.watch(nil)
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (s *stream) Flush() { s.FlushError() }

// Hijack switches to another protocol.
func (s *stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, both, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err == nil {
		s.watch(conn)
	}
	return conn, both, err
}
