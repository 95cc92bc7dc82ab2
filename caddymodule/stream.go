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

// A stream is a response that may take long: a WebSocket, server-sent events,
// gRPC, a large file. It is broken off when its grant is revoked or gone from
// the store. The end of an access token's lifetime breaks off nothing: the token
// was valid when the request was made.
type stream struct {
	caddyhttp.ResponseWriterWrapper
	grant deviceauth.ID

	broken atomic.Bool
	mu     sync.Mutex
	conn   net.Conn // of the protocol that was switched to, after Hijack
	ended  bool     // the handler has returned

	of         *streams // the list that it is in
	prev, next *stream
	begun      uint64 // the count of checks when it began
}

// streams are the responses that have not ended, in a doubly linked list. One
// goroutine checks all of them at intervals: a timer for each request would cost
// more than the rest of the guard.
type streams struct {
	mu     sync.Mutex
	list   stream // head of the ring: its next is the oldest stream, its prev the latest
	checks uint64 // how many checks there were
}

// streamCheckInterval is how often the grants of streams are checked. A revocation at
// another gateway may be seen 0.8 s late (Redis); together that is one second.
const streamCheckInterval = 200 * time.Millisecond

// begin appends a stream to the list; its end must be called when the handler
// has returned.
func (l *streams) begin(w http.ResponseWriter, grant deviceauth.ID) *stream {
	s := &stream{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, grant: grant, of: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list.next == nil {
		l.list.next, l.list.prev = &l.list, &l.list
	}
	s.prev, s.next, s.begun = l.list.prev, &l.list, l.checks
	s.prev.next, s.next.prev = s, s
	return s
}

// end removes the stream from the list. From then on the connection may carry
// another request, which must not be broken off.
func (s *stream) end() {
	s.mu.Lock()
	s.ended = true // the connection may go on with another request
	s.mu.Unlock()
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.prev.next, s.next.prev = s.next, s.prev
}

// lasting returns the streams that began before the previous check. Most
// requests end before, and are never looked up in the store. Streams are in the
// order of their begin, so the loop stops at the first recent one.
func (l *streams) lasting() (all []*stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks++
	for s := l.list.next; s != nil && s != &l.list && s.begun+1 < l.checks; s = s.next {
		all = append(all, s)
	}
	return all
}

// watch breaks off streams whose grant is not active any more, until the context
// ends.
func (l *issuerState) watch(ctx context.Context) {
	tick := time.NewTicker(streamCheckInterval)
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

// lives reports whether a grant is active for the server that serves now. Where
// that cannot be known, because no server serves or its store is away, the
// stream goes on: an outage must not cut off every device.
func (l *issuerState) lives(ctx context.Context, grant deviceauth.ID) bool {
	server := l.current.Load()
	if server == nil || !server.pooledStore.beginUse() {
		return true
	}
	defer server.pooledStore.endUse()
	alive, err := server.engine.IsActive(ctx, grant)
	return alive || err != nil
}

// breakOff ends a stream. A connection that was switched to another protocol is
// closed. Otherwise deadlines in the past make every read and write fail, which
// ends the request on both sides whichever of them is blocked.
func (s *stream) breakOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch past := time.Unix(1, 0); {
	case s.ended || s.broken.Swap(true):
	case s.conn != nil:
		s.conn.Close()
	default:
		http.NewResponseController(s.ResponseWriter).SetReadDeadline(past)
		// A deadline on the server's own writer is safe from this goroutine. The
		// writers around it belong to the handler, which may be writing.
		http.NewResponseController(innermost(s.ResponseWriter)).SetWriteDeadline(past)
	}
}

// innermost unwraps a writer down to the server's own.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// errCutOff is what the handler gets for a write after the stream was broken
// off.
var errCutOff = errors.New("the device was cut off")

// Write fails once the stream is broken off: reverse_proxy would otherwise set a
// new deadline and write on.
func (s *stream) Write(p []byte) (int, error) {
	if s.broken.Load() {
		return 0, errCutOff
	}
	return s.ResponseWriterWrapper.Write(p)
}

// ReadFrom is Write for io.Copy.
func (s *stream) ReadFrom(from io.Reader) (int64, error) {
	if s.broken.Load() {
		return 0, errCutOff
	}
	return s.ResponseWriterWrapper.ReadFrom(from)
}

// FlushError fails once the stream is broken off. http.ResponseController looks
// for this method.
func (s *stream) FlushError() error {
	if s.broken.Load() {
		return errCutOff
	}
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (s *stream) Flush() { s.FlushError() }

// Hijack takes over the connection for another protocol, such as WebSocket, and
// remembers it for breakOff.
func (s *stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, both, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	if secure, ok := conn.(*tls.Conn); ok {
		s.conn = secure.NetConn() // closed without TLS's close_notify, which a client could block
	}
	return conn, both, nil
}
