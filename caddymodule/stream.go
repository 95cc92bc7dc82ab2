package caddymodule

import (
	"bufio"
	"context"
	"crypto/tls"
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
	grant deviceauth.ID

	broken atomic.Bool
	mu     sync.Mutex
	conn   net.Conn // of a protocol that was switched to
	ended  bool

	of         *streams // whose list it is in
	prev, next *stream
	born       uint64 // the look before its time
}

// streams are the requests that were let through and have not ended. All are
// looked at by one, every now and then: a timer for each request would cost more
// than the guard does.
type streams struct {
	mu    sync.Mutex
	list  stream // its next is the first, its prev the last
	looks uint64
}

// streamLook is how often the grants of streams are looked at. With Redis they
// may be 0.8 s behind; both together are a second.
const streamLook = 200 * time.Millisecond

func (l *streams) begin(w http.ResponseWriter, grant deviceauth.ID) *stream {
	s := &stream{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, grant: grant, of: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list.next == nil {
		l.list.next, l.list.prev = &l.list, &l.list
	}
	s.prev, s.next, s.born = l.list.prev, &l.list, l.looks
	s.prev.next, s.next.prev = s, s
	return s
}

// end is for whoever has served the request.
func (s *stream) end() {
	s.mu.Lock()
	s.ended = true // the connection may go on with another request
	s.mu.Unlock()
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.prev.next, s.next.prev = s.next, s.prev
}

// lasting returns those that were there at the look before: most requests never
// are.
func (l *streams) lasting() (all []*stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.looks++
	for s := l.list.next; s != nil && s != &l.list && s.born+1 < l.looks; s = s.next {
		all = append(all, s)
	}
	return all
}

// watch breaks streams off until the context ends.
func (l *issuerState) watch(ctx context.Context) {
	tick := time.NewTicker(streamLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range l.streams.lasting() {
			if !l.lives(ctx, s.grant) {
				s.breakOff()
			}
		}
	}
}

// lives reports whether a grant lives for the server that serves now. Where that
// cannot be known, because there is none or its store is away, it does.
func (l *issuerState) lives(ctx context.Context, grant deviceauth.ID) bool {
	server := l.current.Load()
	if server == nil || !server.pooledStore.beginUse() {
		return true
	}
	defer server.pooledStore.endUse()
	alive, err := server.engine.IsActive(ctx, grant)
	return alive || err != nil
}

// breakOff closes what was switched to. Otherwise it is too late to write, and
// to read, at once, which ends the request on both sides, whoever waits for what.
func (s *stream) breakOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch past := time.Unix(1, 0); {
	case s.ended || s.broken.Swap(true):
	case s.conn != nil:
		s.conn.Close()
	default:
		http.NewResponseController(s.ResponseWriter).SetReadDeadline(past)
		// The server's own writer can be told from here. Those around it cannot:
		// they belong to whoever writes, who may be about to.
		http.NewResponseController(innermost(s.ResponseWriter)).SetWriteDeadline(past)
	}
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
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	if secure, ok := conn.(*tls.Conn); ok {
		s.conn = secure.NetConn() // is closed without a last word, for which the other side could keep us waiting
	}
	return conn, both, nil
}
