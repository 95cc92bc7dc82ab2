package redisstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
	"github.com/deviceauth/caddy-deviceauth/internal/testlog"
)

// A garbling stands between a store and its server, and replaces a piece of what the
// server sends.
type garbling struct {
	server       string
	subscription atomic.Pointer[string] // sent once to who has subscribed
	command      atomic.Pointer[string] // sent once to who has not
}

// start returns the address for the store.
func (g *garbling) start(t *testing.T) string {
	t.Helper()
	l := listen(t)
	g.accept(l)
	return l.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func (g *garbling) accept(l net.Listener) {
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go g.serve(client)
		}
	}()
}

func (g *garbling) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.server)
	if err != nil {
		return
	}
	defer server.Close()
	var subscribed atomic.Bool
	go func() {
		defer server.Close()
		buffer := make([]byte, 64<<10)
		for {
			n, err := client.Read(buffer)
			if bytes.Contains(bytes.ToLower(buffer[:n]), []byte("\r\nsubscribe\r\n")) {
				subscribed.Store(true)
			}
			if _, failed := server.Write(buffer[:n]); err != nil || failed != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := server.Read(buffer)
		text, from := buffer[:n], &g.command
		if subscribed.Load() {
			from = &g.subscription
		}
		if other := from.Swap(nil); other != nil {
			text = []byte(*other)
		}
		if _, failed := client.Write(text); err != nil || failed != nil {
			return
		}
	}
}

// A reply that is no reply is an error of one connection, on a subscription too, where the
// library panics at it.
//
// protocol 4
func TestRepliesThatAreNoneEndNothing(t *testing.T) {
	t.Parallel()
	between := &garbling{server: redistest.Start(t).Addr()}
	s, err := Open(t.Context(), Options{URLs: []string{"redis://" + between.start(t)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, reply := range []string{"*0\r\n", "*1\r\n+message\r\n", "*2\r\n+message\r\n+x\r\n",
		">2\r\n+message\r\n+x\r\n",
		"*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n", "*3\r\n+subscribe\r\n+x\r\n+y\r\n", "*2\r\n+pong\r\n:1\r\n", "$-1\r\n",
		"-NOAUTH Authentication required.\r\n", "$1099511627776\r\n", "nonsense\r\n"} {
		between.subscription.Store(&reply)
		if !current(s, func() bool { return between.subscription.Load() == nil }) || !current(s, nil) {
			t.Errorf("%q on the subscription: it is not made again", reply)
		}
	}
	for _, reply := range []string{"$1099511627776\r\n", "$9223372036854775807\r\n", "$99999999999999999999999\r\n",
		"$" + strings.Repeat("0", 40) + "1099511627776\r\n", "=1099511627776\r\n", "*1099511627776\r\n",
		"%1099511627776\r\n", strings.Repeat("*1\r\n", 10_000), "*0\r\n", "nonsense\r\n"} {
		between.command.Store(&reply)
		s.LoadDocument(t.Context(), "x") // or a heartbeat is answered so
		if !current(s, func() bool { return between.command.Load() == nil }) || !current(s, nil) {
			t.Errorf("%.40q to a command: the store does not go on", reply)
		}
	}
}

// current waits until something has happened (nil: at once), and then until a heartbeat comes
// back that was sent after that, and a command is answered.
func current(s *Store, happened func() bool) bool {
	since := time.Time{}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if since.IsZero() && (happened == nil || happened()) {
			since = time.Now()
		}
		s.changes.mu.Lock()
		returned := s.changes.returnedAt[""]
		s.changes.mu.Unlock()
		if _, err := s.LoadDocument(context.Background(), "x"); err == nil && !since.IsZero() && returned.After(since) {
			return true
		}
	}
	return false
}

// A subscription that is refused for a while, as when a password or an ACL is changed, is
// made again, and the log says both.
func TestSubscriptionThatIsRefusedIsMadeAgain(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, log := openLogged(t, server.URL())
	acl := func(rule string) {
		t.Helper()
		if err := s.redis.Do(t.Context(), "ACL", "SETUSER", "default", rule).Err(); err != nil {
			t.Fatal(err)
		}
	}
	acl("resetchannels") // which breaks the subscription
	log.Wait(t, "redis refuses the subscription")
	acl("allchannels")
	log.Wait(t, "redis takes the subscription again")
	if !current(s, func() bool { return true }) {
		t.Error("no heartbeat comes back")
	}
}

// While the server is silent no request waits for command after command.
func TestSilentServerIsWaitedForOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s, log := openLogged(t, server.URL())
	server.Pause()
	defer server.Resume()
	took := func(what string, most time.Duration) {
		t.Helper()
		began := time.Now()
		if _, err := s.LoadDocument(t.Context(), "x"); err == nil {
			t.Errorf("%s: no error", what)
		}
		if d := time.Since(began); d > most {
			t.Errorf("%s: it took %v, want %v at most", what, d, most)
		}
	}
	took("at first", 2*time.Second)
	log.Wait(t, "redis has gone away")
	for deadline := time.Now().Add(10 * time.Second); s.changes.away.Load() == nil; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not noticed that the server is silent")
		}
	}
	for range 10 {
		took("later", 300*time.Millisecond)
	}
	server.Resume()
	log.Wait(t, "redis is back")
	if _, err := s.LoadDocument(t.Context(), "x"); err != nil {
		t.Errorf("once it is back: %v", err)
	}
}

func TestReplyLimitFindsLengthsInAnyPieces(t *testing.T) {
	t.Parallel()
	const long = "$67108865\r\n"
	for text, refused := range map[string]bool{
		"+OK\r\n": false, "$3\r\nabc\r\n": false, "$-1\r\n": false, long: true, "!67108865\r\n": true,
		"=67108865\r\n":                                                              true,
		"$11\r\n" + long + "\r\n:1\r\n":                                              false, // within a string
		"*2\r\n$1\r\na\r\n" + long:                                                   true,
		"+" + strings.Repeat("$", 100) + "\r\n":                                      false,
		"$99999999999999999999\r\n":                                                  true,
		"%1\r\n$1\r\na\r\n>2\r\n+x\r\n" + long:                                       true,
		"-ERR $67108865\r\n$0\r\n\r\n$1\r\nb\r\n":                                    false,
		"*1048577\r\n":                                                               true,
		"$000000000000000000000000067108865\r\n":                                     true,
		"*2\r\n:1\r\n" + strings.Repeat("*2\r\n:1\r\n", maxDepth):                    true, // in the last
		strings.Repeat("*1\r\n", maxDepth) + ":1\r\n" + "*1\r\n:1\r\n":               false,
		strings.Repeat("*0\r\n", 2*maxDepth):                                         false,
		"%1\r\n$1\r\na\r\n*1\r\n:1\r\n" + strings.Repeat("*1\r\n:1\r\n", 2*maxDepth): false,
	} {
		for piece := 1; piece <= min(len(text), 40); piece++ {
			var limit replyLimit
			var err error
			for r := strings.NewReader(text); r.Len() > 0 && err == nil; {
				p := make([]byte, piece)
				n, _ := io.ReadFull(r, p)
				err = limit.check(p[:n])
			}
			if errors.Is(err, errReplyTooLong) != refused {
				t.Errorf("%q in pieces of %d: %v", text, piece, err)
			}
		}
	}
}

func FuzzReplyLimit(f *testing.F) {
	f.Add([]byte("*1\r\n$3\r\nabc\r\n"), 3)
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		if at < 0 || at > len(text) {
			return
		}
		var whole, pieces replyLimit
		all := whole.check(text)
		err := pieces.check(text[:at])
		if err == nil {
			err = pieces.check(text[at:])
		}
		if (all == nil) != (err == nil) {
			t.Errorf("%q: %v at once, %v in two pieces", text, all, err)
		}
	})
}

func openLogged(t *testing.T, url string) (*Store, *testlog.Buffer) {
	t.Helper()
	log := new(testlog.Buffer)
	s, err := Open(t.Context(), Options{URLs: []string{url}}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, log
}
