package writers

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// downloadTimeout is how long a download waits for the client to continue reading.
const downloadTimeout = time.Minute

// stopPollInterval is how often a download checks whether the process is shutting
// down.
const stopPollInterval = 200 * time.Millisecond

// A Download is the body of a long response, such as a backup. It keeps the store
// open, so it is aborted if the client stops reading for a minute, or if the process
// is shutting down.
type Download struct {
	io.Writer
	conn     *http.ResponseController
	stopping func() bool

	mu     sync.Mutex
	timer  *time.Timer
	broken bool // aborted or ended: nothing more is written
}

// NewDownload starts a download, and the timer that aborts it during a shutdown.
func NewDownload(w http.ResponseWriter, stopping func() bool) *Download {
	d := &Download{Writer: w, conn: http.NewResponseController(w), stopping: stopping}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = time.AfterFunc(stopPollInterval, d.checkStop)
	return d
}

// Write extends the write deadline of the connection for each part: the deadline is
// for one write, not for the whole download.
func (d *Download) Write(p []byte) (int, error) {
	d.mu.Lock()
	if d.broken {
		d.mu.Unlock()
		return 0, http.ErrAbortHandler
	}
	d.conn.SetWriteDeadline(time.Now().Add(downloadTimeout))
	d.mu.Unlock()
	return d.Writer.Write(p)
}

// checkStop aborts the download if the process is shutting down. A deadline in the
// past makes a blocked write return immediately.
func (d *Download) checkStop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.broken:
	case d.stopping():
		d.broken = true
		d.conn.SetWriteDeadline(time.Unix(1, 0))
	default:
		d.timer.Reset(stopPollInterval)
	}
}

// End removes the deadline, so that the connection can be used for another
// request.
func (d *Download) End() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer.Stop()
	if !d.broken {
		d.broken = true
		d.conn.SetWriteDeadline(time.Time{})
	}
}
