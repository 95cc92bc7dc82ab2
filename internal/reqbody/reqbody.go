// Package reqbody reads the bodies of requests within a time. A client that
// sends a byte every now and then costs nothing to be, and must hold neither a
// handler nor the end of the server. What a body says is its caller's business.
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

// Time is what a whole body may take to arrive.
const Time = 10 * time.Second

// stopLook is how often it is asked whether the server is about to stop. A body
// that has arrived by then, as nearly all have, costs no question.
const stopLook = 200 * time.Millisecond

// drainSize is how much of an unread body net/http reads before it
// sends an answer: 256 KiB, so that the connection can be used again.
const drainSize = 256 << 10

var longAgo = time.Unix(1, 0)

// Why a body was not waited for.
var (
	ErrSlow     = errors.New("the body did not arrive within 10 s")
	ErrStopping = errors.New("the server is about to stop")
)

// Buffer reads a body and puts what was read in its place, so that its
// reader then does not wait: at most size bytes and one more, by which it
// is known to be too large. What net/http would read beyond that before it sends
// the answer is read here as well, because here it is bounded in time. stopping,
// if any, tells that the server is about to stop.
//
// [ErrSlow] and [ErrStopping] end the connection's use: the answer must close an
// HTTP/1 connection. Any other fault of the body is met by its reader. A body that was
// buffered before stays as it is, whatever size says now.
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
	if over && r.ContentLength <= drainSize { // a larger one closes the connection unread
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

// A buffered body is read from memory.
type buffered struct {
	text bytes.Reader
	err  error // what its end is instead of io.EOF; nil: nothing
	io.Closer
}

func (b *buffered) Read(p []byte) (int, error) {
	n, err := b.text.Read(p)
	if err != nil && b.err != nil {
		err = b.err
	}
	return n, err
}

// ReadAll is [io.ReadAll] for at most so many bytes of what is said to have a length, in
// bytes; negative: that is not known. A length that is not true costs no more memory
// than none.
func ReadAll(from io.Reader, most, length int64) ([]byte, error) {
	room := int64(512)
	if length >= 0 {
		room = min(length+1, room) // one more, so that the end is seen before there is need to grow
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

// Discard reads a body that has no reader, as far as net/http would do so before
// it sends an answer, but within [Time]. The answer of an HTTP/1 request whose
// body does not arrive then closes the connection. It is for who is about to
// answer without a look at the body.
func Discard(w http.ResponseWriter, r *http.Request, stopping func() bool) {
	awaits := r.ContentLength > drainSize || r.Header.Get("Expect") != "" // net/http reads neither
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
	r.Body, r.ContentLength, r.TransferEncoding = http.NoBody, 0, nil // for an error page of another server
	r.Header.Del("Content-Length")
}

// A timer reads one body, and breaks off the read at its time.
type timer struct {
	body     io.Reader
	writer   http.ResponseWriter
	until    time.Time
	stopping func() bool

	mu      sync.Mutex
	look    *time.Timer
	set     bool // the connection has a deadline
	stopped bool // the server is about to stop
	ended   bool // the connection is no longer this timer's
}

// start sets no deadline yet: nearly every body has arrived before the first look, and
// then none has to be set and taken away again.
func start(w http.ResponseWriter, r *http.Request, stopping func() bool) *timer {
	server, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	t := &timer{
		body: r.Body, writer: w, until: time.Now().Add(Time), stopping: stopping,
		set: server == nil || server.ReadTimeout != 0, // by the server
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.look = time.AfterFunc(stopLook, t.ask)
	return t
}

// Read does not go beyond the time, also where the writer knows no deadlines and a read
// cannot be broken off.
func (t *timer) Read(p []byte) (int, error) {
	if err := t.why(); err != nil {
		return 0, err
	}
	return t.body.Read(p)
}

// setDeadline sets when a read of the connection ends. Not every writer can.
func (t *timer) setDeadline(at time.Time) { http.NewResponseController(t.writer).SetReadDeadline(at) }

// ask sees to it that the read ends in time, which is now where the server is about to
// stop, and else asks again.
func (t *timer) ask() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.set = true
	if t.stopping == nil || !t.stopping() {
		t.setDeadline(t.until)
		t.look.Reset(stopLook)
		return
	}
	t.stopped = true
	t.setDeadline(longAgo)
}

func (t *timer) why() error {
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

// end says whether the body was broken off, by the error that its reader got. A
// whole one gives the connection its time back, for a held poll and for the next
// request; for the rest of any other there is no waiting.
func (t *timer) end(whole bool, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.look.Stop()
	if whole {
		if t.set {
			t.setDeadline(time.Time{})
		}
		return nil
	}
	t.setDeadline(longAgo)
	switch {
	case t.stopped:
		return ErrStopping
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ErrSlow):
		return ErrSlow
	}
	return nil
}
