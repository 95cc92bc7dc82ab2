package caddymodule

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// downloadPatience is how long a download waits for its reader to go on.
const downloadPatience = time.Minute

// stopLook is how often a download looks whether the process is about to stop.
const stopLook = 200 * time.Millisecond

// A download is the body of a long answer, such as a backup. It breaks off where
// its reader does not read on for a minute, or the process is about to stop: it
// holds the store, and that must be closed.
type download struct {
	io.Writer
	conn     *http.ResponseController
	stopping func() bool

	mu     sync.Mutex
	look   *time.Timer
	broken bool // or ended
}

func newDownload(w http.ResponseWriter, stopping func() bool) *download {
	d := &download{Writer: w, conn: http.NewResponseController(w), stopping: stopping}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look = time.AfterFunc(stopLook, d.ask)
	return d
}

// Write gives the reader its time anew.
func (d *download) Write(p []byte) (int, error) {
	d.mu.Lock()
	if d.broken {
		d.mu.Unlock()
		return 0, http.ErrAbortHandler
	}
	d.conn.SetWriteDeadline(time.Now().Add(downloadPatience))
	d.mu.Unlock()
	return d.Writer.Write(p)
}

func (d *download) ask() {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.broken:
	case d.stopping():
		d.broken = true
		d.conn.SetWriteDeadline(time.Unix(1, 0)) // too late since long
	default:
		d.look.Reset(stopLook)
	}
}

// end leaves the connection to whoever has it next.
func (d *download) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.look.Stop()
	if !d.broken {
		d.broken = true
		d.conn.SetWriteDeadline(time.Time{})
	}
}
