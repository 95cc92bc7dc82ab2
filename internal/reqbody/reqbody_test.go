package reqbody

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

const size = 1 << 10

// pipes is a listener of connections in memory, which keep the time of a bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	conn, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{} }

// serve runs a server that says what Buffer said, and what a reader then gets.
func serve(t *testing.T, stopping func() bool) func() net.Conn {
	listener := make(pipes)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refused" {
			Discard(w, r, stopping)
			http.Error(w, fmt.Sprint(r.ContentLength), http.StatusUnauthorized)
			return
		}
		if err := Buffer(w, r, size, stopping); err != nil {
			w.Header().Set("Connection", "close")
			http.Error(w, err.Error(), http.StatusRequestTimeout)
			return
		}
		body, err := io.ReadAll(r.Body)
		if r.URL.Path == "/held" { // a poll: longer than a body may take
			select {
			case <-time.After(2 * Time):
			case <-r.Context().Done():
				err = r.Context().Err()
			}
		}
		fmt.Fprintf(w, "%d %v", len(body), err)
	})}
	go server.Serve(listener)
	t.Cleanup(func() {
		close(listener)
		server.Close()
		time.Sleep(time.Minute) // of the bubble: all that dripped have noticed
	})
	return func() net.Conn {
		client, other := net.Pipe()
		listener <- other
		return client
	}
}

// answer reads a response, and returns how long it took.
func answer(t *testing.T, from *bufio.Reader, since time.Time) (status int, body string, took time.Duration) {
	t.Helper()
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text)), time.Since(since)
}

// drip sends a byte a second until the other side has had enough.
func drip(to io.Writer, chunked bool) {
	for {
		next := "a"
		if chunked {
			next = "1\r\na\r\n"
		}
		if _, err := io.WriteString(to, next); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

func TestSlowBodyIsBrokenOff(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for name, head := range map[string]string{
		"of a length":                  "Content-Length: 500\r\n\r\n",
		"chunked":                      "Transfer-Encoding: chunked\r\n\r\n",
		"too large, and its rest slow": "Content-Length: 200000\r\n\r\n" + big,
		"chunked, and too large so soon": "Transfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n", len(big), big),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, since := serve(t, nil)(), time.Now()
				defer conn.Close()
				go func() {
					io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\n"+head)
					drip(conn, strings.Contains(head, "chunked"))
				}()
				status, body, took := answer(t, bufio.NewReader(conn), since)
				late := took < Time || took > Time+time.Second
				if status != http.StatusRequestTimeout || body != ErrSlow.Error() || late {
					t.Errorf("after %v: %d %s", took, status, body)
				}
			})
		})
	}
}

func TestBodyWithoutEndIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, since := serve(t, nil)(), time.Now()
		defer conn.Close()
		go func() {
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
			for range 5 {
				fmt.Fprintf(conn, "%x\r\n%s\r\n", 100<<10, strings.Repeat("x", 100<<10))
			}
			drip(conn, true)
		}()
		status, body, took := answer(t, bufio.NewReader(conn), since)
		if status != http.StatusOK || !strings.HasPrefix(body, fmt.Sprint(size+1)) || took > time.Second {
			t.Errorf("after %v: %d %s", took, status, body)
		}
	})
}

func TestWholeBodyGivesTheConnectionItsTimeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := serve(t, func() bool { return false })()
		defer conn.Close()
		from := bufio.NewReader(conn)
		for _, path := range []string{"/", "/held", "/"} {
			since := time.Now()
			go func() {
				fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabcd", path)
				time.Sleep(Time / 2)
				io.WriteString(conn, "efgh")
			}()
			if status, body, took := answer(t, from, since); status != http.StatusOK || body != "8 <nil>" {
				t.Errorf("%s after %v: %d %s", path, took, status, body)
			}
			time.Sleep(2 * Time) // idle
		}
	})
}

func TestStopWaitsForNoSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopping atomic.Bool
		conn, since := serve(t, stopping.Load)(), time.Now()
		defer conn.Close()
		go func() {
			io.WriteString(conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n")
			drip(conn, false)
		}()
		time.AfterFunc(3*time.Second, func() { stopping.Store(true) })
		status, body, took := answer(t, bufio.NewReader(conn), since)
		if status != http.StatusRequestTimeout || body != ErrStopping.Error() || took > 3*time.Second+2*stopInterval {
			t.Errorf("after %v: %d %s", took, status, body)
		}
	})
}

func TestBodyThatBreaksOffIsMetByItsReader(t *testing.T) {
	t.Parallel()
	broken := iotest.ErrReader(io.ErrUnexpectedEOF)
	r, _ := http.NewRequest("POST", "/", io.MultiReader(strings.NewReader("abc"), broken))
	if err := Buffer(nil, r, size, nil); err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(r.Body); string(body) != "abc" || err != io.ErrUnexpectedEOF {
		t.Errorf("got %q, %v", body, err)
	}
}

func TestBodyOfARefusedRequestHoldsNothingUp(t *testing.T) {
	for _, test := range []struct {
		name, head string
		drips      bool
		most       time.Duration
		closes     bool
	}{
		{"whole", "Content-Length: 4\r\n\r\nabcd", false, 0, false},
		{"none", "\r\n", false, 0, false},
		{"slow", "Content-Length: 500\r\n\r\n", true, Time + time.Second, true},
		{"slow and chunked", "Transfer-Encoding: chunked\r\n\r\n", true, Time + time.Second, true},
		{"large", "Content-Length: 1000000\r\n\r\n", true, time.Second, true},
		{"to be asked for", "Expect: 100-continue\r\nContent-Length: 500\r\n\r\n", false, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, since := serve(t, nil)(), time.Now()
				defer conn.Close()
				go func() {
					io.WriteString(conn, "POST /refused HTTP/1.1\r\nHost: a\r\n"+test.head)
					if test.drips {
						drip(conn, strings.Contains(test.head, "chunked"))
					}
				}()
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				took := time.Since(since)
				if response.StatusCode != http.StatusUnauthorized || took > test.most || response.Close != test.closes {
					t.Errorf("after %v: %d, closes: %v", took, response.StatusCode, response.Close)
				}
				io.Copy(io.Discard, response.Body)
			})
		})
	}
}
