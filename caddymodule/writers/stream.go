// Package writers has response writers. A guard puts two around that of the backend's
// response: one aborts the response when its grant is revoked, and one adds headers of
// which the backend cannot know. A third one aborts a long download whose client does not
// read. It decides when a response is aborted, and with which headers caches and browser
// pages are told what they may do with it. For which grant and page a response is, and
// whether it is for one person or client only, is decided by caddymodule, which calls it.
package writers

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

// A Stream is a response that may take long: a WebSocket, server-sent events, gRPC, a
// large file. It is aborted when its grant is revoked or no longer in the store. The
// expiry of the access token does not abort it: the token was valid when the request
// was made.
type Stream struct {
	caddyhttp.ResponseWriterWrapper
	grant deviceauth.ID

	broken atomic.Bool
	mu     sync.Mutex
	conn   net.Conn // after Hijack: the connection for the other protocol
	ended  bool     // the handler has returned

	of         *Streams // the list that contains it
	prev, next *Stream
	begun      uint64 // the number of checks when it began
}

// Streams are the responses in progress, in a doubly linked list. One goroutine
// checks all of them periodically: a timer for each request would cost more than the
// rest of the guard.
type Streams struct {
	mu     sync.Mutex
	list   Stream // head of the ring: its next is the oldest stream, its prev the latest
	checks uint64 // the number of checks
}

// streamCheckInterval is how often the grants of streams are checked. A revocation at
// another gateway may be seen 0.8 s late (Redis); together this is one second.
const streamCheckInterval = 200 * time.Millisecond

// Begin adds a stream to the list; its End method must be called when the handler has
// returned.
func (l *Streams) Begin(w http.ResponseWriter, grant deviceauth.ID) *Stream {
	s := &Stream{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, grant: grant, of: l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list.next == nil {
		l.list.next, l.list.prev = &l.list, &l.list
	}
	s.prev, s.next, s.begun = l.list.prev, &l.list, l.checks
	s.prev.next, s.next.prev = s, s
	return s
}

// End removes the stream from the list. From then on the connection may carry another
// request, which must not be aborted.
func (s *Stream) End() {
	s.mu.Lock()
	s.ended = true // the connection may carry another request
	s.mu.Unlock()
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.prev.next, s.next.prev = s.next, s.prev
}

// lasting returns the streams that began before the previous check. Most requests end
// earlier, and are never looked up in the store. Streams are ordered by their
// beginning, so the loop stops at the first recent one.
func (l *Streams) lasting() (all []*Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.checks++
	for s := l.list.next; s != nil && s != &l.list && s.begun+1 < l.checks; s = s.next {
		all = append(all, s)
	}
	return all
}

// Watch aborts streams whose grant is not active, until the context ends.
func (l *Streams) Watch(ctx context.Context, isActive func(context.Context, deviceauth.ID) bool) {
	tick := time.NewTicker(streamCheckInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, s := range l.lasting() {
			if !isActive(ctx, s.grant) {
				s.breakOff()
			}
		}
	}
}

// breakOff aborts a stream. A connection with another protocol is closed. Otherwise
// deadlines in the past make every read and write fail, which ends the request on
// both sides, even if one of them is blocked.
func (s *Stream) breakOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch past := time.Unix(1, 0); {
	case s.ended || s.broken.Swap(true):
	case s.conn != nil:
		s.conn.Close()
	default:
		http.NewResponseController(s.ResponseWriter).SetReadDeadline(past)
		// A deadline on the server's own writer may be set from this goroutine. The
		// writers around it belong to the handler, which may be writing.
		http.NewResponseController(innermost(s.ResponseWriter)).SetWriteDeadline(past)
	}
}

// innermost unwraps a writer to the server's own.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapper.Unwrap()
	}
}

// errCutOff is the error of a write after the stream was aborted.
var errCutOff = errors.New("the device was cut off")

// Write fails once the stream is aborted: reverse_proxy would otherwise set a new
// deadline and continue.
func (s *Stream) Write(p []byte) (int, error) {
	if s.broken.Load() {
		return 0, errCutOff
	}
	return s.ResponseWriterWrapper.Write(p)
}

// ReadFrom is Write for io.Copy.
func (s *Stream) ReadFrom(from io.Reader) (int64, error) {
	if s.broken.Load() {
		return 0, errCutOff
	}
	return s.ResponseWriterWrapper.ReadFrom(from)
}

// FlushError fails once the stream is aborted. http.ResponseController looks for this
// method.
func (s *Stream) FlushError() error {
	if s.broken.Load() {
		return errCutOff
	}
	return http.NewResponseController(s.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (s *Stream) Flush() { s.FlushError() }

// Hijack takes over the connection for another protocol, such as WebSocket, and
// stores it for breakOff.
func (s *Stream) Hijack() (net.Conn, *bufio.ReadWriter, error) {
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
