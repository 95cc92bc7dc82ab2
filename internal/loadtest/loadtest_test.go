package loadtest

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestPercentileIsTheNearestRank(t *testing.T) {
	t.Parallel()
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = i + 1
	}
	tests := []struct {
		name string
		list []int
		q    float64
		want int
	}{
		{"none", nil, 0.5, 0},
		{"one", []int{7}, 0.99, 7},
		{"the median of two is the lower", []int{1, 2}, 0.5, 1},
		{"the median of three", []int{1, 2, 9}, 0.5, 2},
		{"p99 of a hundred", hundred, 0.99, 99},
		{"p50 of a hundred", hundred, 0.5, 50},
		{"all", hundred, 1, 100},
		{"nothing of it", hundred, 0, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Percentile(test.list, test.q); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestSpreadIsMedianLeastAndGreatest(t *testing.T) {
	t.Parallel()
	figures := []float64{5, 1, 3}
	if got, want := SpreadOf(figures), (Spread{Median: 3, Min: 1, Max: 5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := SpreadOf([]float64{4, 1, 2, 3}).Median; got != 2.5 {
		t.Errorf("the median of four is %v, want 2.5", got)
	}
	if figures[0] != 5 {
		t.Error("the caller's figures were sorted")
	}
	if got := SpreadOf(nil); got != (Spread{}) {
		t.Errorf("of nothing: %v", got)
	}
}

func TestRatiosAreTakenWithinARound(t *testing.T) {
	t.Parallel()
	// The machine was half as fast in the second round, for both.
	if got := Ratios([]float64{80, 40}, []float64{100, 50}); !slices.Equal(got, []float64{0.8, 0.8}) {
		t.Errorf("got %v", got)
	}
}

// answering is a connection that has these answers to read.
func answering(text string) *Conn { return &Conn{in: bufio.NewReader(strings.NewReader(text))} }

func TestAnswersAreRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text string
		status     int
		body       string
		fails      bool
	}{
		{"a length", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 200, "ok", false},
		{"chunks", "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 400,
			"abc", false},
		{"no content", "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n", 204, "", false},
		{"neither length nor chunks", "HTTP/1.1 200 OK\r\n\r\nok", 0, "", true},
		{"a length that is none", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", 0, "", true},
		{"a body that is cut off", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", 200, "", true},
		{"chunks that are none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 200, "", true},
		{"another protocol", "SSH-2.0-OpenSSH_9.2\r\n\r\n", 0, "", true},
		{"no status", "HTTP/1.1 abc OK\r\n\r\n", 0, "", true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := answering(test.text)
			status, err := c.read()
			if test.fails {
				if err == nil {
					t.Fatalf("it was read as %d %q", status, c.body)
				}
				return
			}
			if err != nil || status != test.status || string(c.body) != test.body {
				t.Errorf("got %d %q, %v; want %d %q", status, c.body, err, test.status, test.body)
			}
		})
	}
}

func TestConnectionIsKeptAlive(t *testing.T) {
	t.Parallel()
	c := answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\nb")
	for _, want := range []int{200, 404} {
		if status, err := c.read(); err != nil || status != want {
			t.Errorf("got %d, %v, want %d", status, err, want)
		}
	}
}

// serving is a server, and where it listens.
func serving(t *testing.T, handler http.HandlerFunc) (addr string) {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestRequestsArriveAsTheyWereMade(t *testing.T) {
	t.Parallel()
	addr := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.Host != "localhost:1" || r.FormValue("a") != "b c" || r.Header.Get("X") != "y" {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	c := &Conn{Addr: addr}
	defer c.Close()
	status, _, err := c.Do(Request("localhost:1", "/path", url.Values{"a": {"b c"}}, "X: y"))
	if err != nil || status != http.StatusOK {
		t.Errorf("got %d, %v", status, err)
	}
}

func TestRunCountsAndStopsAtTheEndOfItsRequests(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	addr := serving(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	requests := [][]byte{Request("a", "/1", nil), Request("a", "/2", nil), Request("a", "/3", nil)}
	result, err := Run(t.Context(), Load{Addr: addr, Conns: 2, Device: Once(http.StatusOK, requests...)})
	if err != nil || result.Requests != 3 || asked.Load() != 3 || result.P99 < result.P50 || result.P50 <= 0 {
		t.Errorf("got %+v, %v; the server was asked %d times", result, err, asked.Load())
	}
}

func TestWrongAnswerEndsTheRun(t *testing.T) {
	t.Parallel()
	addr := serving(t, func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "too many", http.StatusTooManyRequests)
	})
	_, err := Run(t.Context(), Load{
		Addr: addr, Conns: 3, Duration: time.Minute, Device: Fixed(http.StatusOK, Request("a", "/", nil)),
	})
	if err == nil || !strings.Contains(err.Error(), "answered 429, want 200: too many") {
		t.Errorf("got %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	stop := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	addr := serving(t, func(http.ResponseWriter, *http.Request) { cancel(stop) })
	_, err := Run(ctx, Load{
		Addr: addr, Conns: 1, Duration: time.Minute, Device: Fixed(http.StatusOK, Request("a", "/", nil)),
	})
	if !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func TestRateIsKeptAndEndsWithTheRun(t *testing.T) {
	t.Parallel()
	addr := serving(t, func(http.ResponseWriter, *http.Request) {})
	began := time.Now()
	result, err := Run(t.Context(), Load{
		Addr: addr, Conns: 2, Duration: 100 * time.Millisecond, Rate: 0.01,
		Device: Fixed(http.StatusOK, Request("a", "/", nil)),
	})
	// The first is due at once, the next after minutes.
	if err != nil || result.Requests != 1 || time.Since(began) > 10*time.Second {
		t.Errorf("got %+v, %v after %v", result, err, time.Since(began))
	}
}

func TestPollKeepsTheIntervalOfItsCode(t *testing.T) {
	t.Parallel()
	const interval = 50 * time.Millisecond
	polls := NewPolls("a", interval, []Prepared{{DeviceCode: "one"}})
	d := polls.Device(0)
	d.Next()
	if err := d.Check(http.StatusBadRequest, []byte(`{"error":"authorization_pending"}`)); err != nil {
		t.Fatal(err)
	}
	answered := time.Now()
	if d.Next(); time.Since(answered) < interval-time.Millisecond {
		t.Errorf("the next poll comes after %v", time.Since(answered))
	}
	if got := polls.Waited(); got != 0.5 {
		t.Errorf("%v of the polls waited, want half", got)
	}
	if err := d.Check(http.StatusBadRequest, []byte(`{"error":"slow_down"}`)); err == nil {
		t.Error("slow_down passes for authorization_pending")
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	t.Parallel()
	u := UsageOf(os.Getpid())
	if u == (Usage{}) {
		t.Skip("this system has no /proc")
	}
	if u.RSS < 1<<20 || u.Files < 3 {
		t.Errorf("got %+v", u)
	}
	if got := UsageOf(-1); got != (Usage{}) {
		t.Errorf("of no process: %+v", got)
	}
}

func TestPortsAreFreeAndNoneTwice(t *testing.T) {
	t.Parallel()
	list := FreePorts(5)
	slices.Sort(list)
	if len(slices.Compact(list)) != 5 {
		t.Errorf("got %v", list)
	}
}
