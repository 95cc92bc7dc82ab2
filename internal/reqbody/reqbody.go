// Package reqbody reads request bodies within a time limit. A client can send a byte
// now and then at no cost, and must not block a handler or the shutdown of the server
// by that. The content of a body is the caller's business.
package reqbody

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// Time is the time limit for a whole body.
const Time = 10 * time.Second

// stopInterval is the interval in which a pending read asks whether the server is about
// to stop. Nearly all bodies arrive before the first time.
const stopInterval = 200 * time.Millisecond

// drainSize is how much of an unread body net/http reads before it sends a response,
// so that the connection can be reused: 256 KiB.
const drainSize = 256 << 10

var past = time.Unix(1, 0)

// These are the errors for a body that did not arrive.
var (
	ErrSlow     = errors.New("the body did not arrive within 10 s")
	ErrStopping = errors.New("the server is about to stop")
)

// Buffer reads the request body into memory and replaces r.Body, so that reading it
// later does not block. It keeps at most size bytes and one more, which shows the
// reader that the body is too large. Buffer also reads, within the time limit, what
// net/http would otherwise read without one before it sends the response. stopping,
// if not nil, reports whether the server is about to stop.
//
// After [ErrSlow] and [ErrStopping] the response must close an HTTP/1 connection. Any
// other error is returned by r.Body to its reader. A body that has been buffered
// before is left as it is, even if size differs.
func Buffer(w http.ResponseWriter, r *http.Request, size int64, stopping func() bool) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if _, done := r.Body.(*buffered); done {
		return nil
	}
	t := start(w, r, stopping)
	body, err := ReadAll(t, size+1, r.ContentLength)
	over := int64(len(body)) > size
	if over && r.ContentLength <= drainSize { // net/http closes the connection for a larger one, and does not read it
		_, err = io.CopyN(io.Discard, t, drainSize)
	}
	whole := errors.Is(err, io.EOF) || err == nil && !over
	if why := t.end(whole, err); why != nil {
		return why
	}
	b := &buffered{Closer: r.Body}
	b.text.Reset(body)
	if err != nil && !errors.Is(err, io.EOF) && !over {
		b.err = err
	}
	r.Body = b
	return nil
}

// A buffered is a request body in memory.
type buffered struct {
	text bytes.Reader
	err  error // returned at the end in place of io.EOF, if not nil
	io.Closer
}

func (b *buffered) Read(p []byte) (int, error) {
	n, err := b.text.Read(p)
	if err != nil && b.err != nil {
		err = b.err
	}
	return n, err
}

// ReadAll is [io.ReadAll] for at most the given number of bytes. length is the
// announced length, or negative if unknown. A false length does not make it allocate
// more memory.
func ReadAll(from io.Reader, most, length int64) ([]byte, error) {
	room := int64(512)
	if length >= 0 {
		room = min(length+1, room) // one byte more, so that the end is seen before the buffer has to grow
	}
	for text := make([]byte, 0, min(room, most)); ; {
		n, err := from.Read(text[len(text):min(int64(cap(text)), most)])
		text = text[:len(text)+n]
		switch {
		case errors.Is(err, io.EOF), err == nil && int64(len(text)) == most:
			return text, nil
		case err != nil:
			return text, err
		case len(text) == cap(text):
			text = append(text, 0)[:len(text)]
		}
	}
}

// Discard reads and drops a body that no handler will read. It reads as much as
// net/http would read before it sends the response, but within [Time]. If the body of
// an HTTP/1 request does not arrive, the response closes the connection. Callers use
// Discard before they answer a request without reading its body.
func Discard(w http.ResponseWriter, r *http.Request, stopping func() bool) {
	awaits := r.ContentLength > drainSize || r.Header.Get("Expect") != "" // net/http does not read these
	if r.Body == nil || r.Body == http.NoBody || r.ProtoMajor != 1 || awaits {
		return
	}
	t := start(w, r, stopping)
	_, err := io.CopyN(io.Discard, t, drainSize)
	whole := errors.Is(err, io.EOF)
	t.end(whole, err)
	if !whole {
		w.Header().Set("Connection", "close")
		return
	}
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil // an error page may come from a proxied server
	r.Header.Del("Content-Length")
}

// A timedBody reads one body, and interrupts the read at the time limit.
type timedBody struct {
	body     io.Reader
	writer   http.ResponseWriter
	until    time.Time
	stopping func() bool

	mu      sync.Mutex
	next    *time.Timer
	set     bool // the connection has a read deadline
	stopped bool // the server is about to stop
	ended   bool // the timedBody must not change the deadline any more
}

// start returns the timedBody of a request. It sets no deadline yet: nearly every body
// arrives before the first call of renewDeadline, so that no deadline has to be set and
// removed.
func start(w http.ResponseWriter, r *http.Request, stopping func() bool) *timedBody {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	t := &timedBody{
		body: r.Body, writer: w, until: time.Now().Add(Time), stopping: stopping,
		set: server == nil || server.ReadTimeout != 0, // the server sets one itself
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next = time.AfterFunc(stopInterval, t.renewDeadline)
	return t
}

// Read returns an error after the time limit, also if the writer supports no
// deadlines and a read cannot be interrupted.
func (t *timedBody) Read(p []byte) (int, error) {
	if err := t.err(); err != nil {
		return 0, err
	}
	return t.body.Read(p)
}

// setDeadline sets the read deadline of the connection. Not every writer supports it.
func (t *timedBody) setDeadline(at time.Time) {
	http.NewResponseController(t.writer).SetReadDeadline(at)
}

// renewDeadline sets the read deadline to the time limit, and schedules its next call. If
// the server is about to stop, it interrupts the read at once.
func (t *timedBody) renewDeadline() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.set = true
	if t.stopping == nil || !t.stopping() {
		t.setDeadline(t.until)
		t.next.Reset(stopInterval)
		return
	}
	t.stopped = true
	t.setDeadline(past)
}

func (t *timedBody) err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.stopped:
		return ErrStopping
	case !time.Now().Before(t.until):
		return ErrSlow
	}
	return nil
}

// end returns ErrSlow or ErrStopping if the body was interrupted; err is the error of
// its last read. After a whole body it removes the deadline, for a held poll and for
// the next request. Otherwise it sets one in the past, so that nothing waits for the
// rest of the body.
func (t *timedBody) end(whole bool, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.next.Stop()
	if whole {
		if t.set {
			t.setDeadline(time.Time{})
		}
		return nil
	}
	t.setDeadline(past)
	switch {
	case t.stopped:
		return ErrStopping
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ErrSlow):
		return ErrSlow
	}
	return nil
}
