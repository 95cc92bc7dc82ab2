package writers

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// A backup whose client does not read on must not keep the store from being
// closed.
func TestStalledDownloadEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	var stopping atomic.Bool
	ended := make(chan time.Time, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		to := NewDownload(w, stopping.Load)
		defer to.End()
		for text, err := make([]byte, 64<<10), error(nil); err == nil; {
			_, err = to.Write(text)
		}
		ended <- time.Now()
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
		t.Fatal("it ended by itself")
	case <-time.After(time.Second): // all buffers are full
	}
	stopping.Store(true)
	select {
	case <-ended:
	case <-time.After(2 * time.Second):
		t.Error("it goes on")
		conn.Close()
	}
}
