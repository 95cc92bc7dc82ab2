package redisstore

import (
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// unexpected are replies to a question for an address or for a list of servers that are no
// answer to it.
var unexpected = []string{"*0\r\n", "*1\r\n+127.0.0.1\r\n", "*2\r\n:1\r\n:2\r\n", "*2\r\n+x\r\n+http\r\n",
	"*2\r\n$-1\r\n$-1\r\n", "*2\r\n*0\r\n*0\r\n", "*1\r\n*1\r\n*1\r\n:1\r\n", "*1\r\n*3\r\n:5\r\n:1\r\n*0\r\n",
	"*1\r\n*3\r\n:0\r\n:16383\r\n*1\r\n+x\r\n", "*3\r\n+x\r\n+1\r\n+2\r\n", "*-1\r\n", "$-1\r\n", "+OK\r\n",
	"%1\r\n+a\r\n+b\r\n", ">2\r\n+message\r\n+x\r\n", "-ERR nothing\r\n", "nonsense\r\n", "$1099511627776\r\n"}

// A Sentinel that answers with nonsense, as a broken proxy does, ends no gateway.
//
// protocol 4
func TestSentinelThatSaysNonsenseEndsNothing(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a Sentinel is asked once a second")
	}
	_, sentinel := redistest.Sentinel(t)
	between := &garbling{server: sentinel.Addr()}
	s, err := Open(t.Context(), Options{URLs: []string{"redis://" + between.start(t)}, Sentinel: "mymaster"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, reply := range unexpected {
		between.command.Store(&reply)
		if !current(s, func() bool { return between.command.Load() == nil }) {
			t.Fatalf("%q: the Sentinel is not asked again, or the store does not go on", reply)
		}
	}
}

// A master of a Cluster that answers with nonsense ends no gateway either.
//
// protocol 4
func TestClusterThatSaysNonsenseEndsNothing(t *testing.T) {
	t.Parallel()
	l := listen(t)
	between := &garbling{server: redistest.ClusterOfOne(t, l.Addr().(*net.TCPAddr).Port).Addr()}
	between.accept(l)
	s, err := Open(t.Context(), Options{URLs: []string{"redis://" + l.Addr().String()}, Cluster: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for _, reply := range unexpected {
		between.command.Store(&reply)
		s.List(t.Context(), "", 10) // asks for the servers of the Cluster
		between.command.Store(nil)
		g := storetest.NewGrant("BCDFGHJK")
		g.Redirect = "http://127.0.0.1/" // so that no user code is in the way of the next one
		for deadline := time.Now().Add(10 * time.Second); s.Create(t.Context(), g) != nil; {
			if time.Now().After(deadline) {
				t.Fatalf("%q: the store does not go on", reply)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// Connections to a master that was replaced are closed, even though it still takes changes:
// the next change is made at the new one.
//
// protocol 4
func TestMasterThatWasReplacedGetsNoMoreChanges(t *testing.T) {
	t.Parallel()
	_, sentinel := redistest.Sentinel(t)
	next := redistest.Start(t)
	s, err := Open(t.Context(), Options{URLs: []string{sentinel.URL()}, Sentinel: "mymaster"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Create(t.Context(), storetest.NewGrant("BCDFGHJK")); err != nil {
		t.Fatal(err)
	}
	sentinel.Monitor(next)
	changesArriveAt(t, s, next)
}

// A gateway that was told of one Sentinel learns of the others, and goes on with them where
// that one has died.
//
// protocol 4
func TestSentinelThatDiedIsReplacedByAnother(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("Sentinels take their time")
	}
	master, first := redistest.Sentinel(t)
	second, next := redistest.SentinelOf(t, master), redistest.Start(t)
	s, err := Open(t.Context(), Options{URLs: []string{first.URL()}, Sentinel: "mymaster"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	known := func() int {
		all := s.redis.(*failoverClient).sentinels
		all.mu.Lock()
		defer all.mu.Unlock()
		return len(all.list)
	}
	for deadline := time.Now().Add(20 * time.Second); known() < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the other Sentinel is not known after 20 s")
		}
	}
	first.Kill()
	second.Monitor(next)
	changesArriveAt(t, s, next)
}

// changesArriveAt requires that changes of the store are soon made at a server.
func changesArriveAt(t *testing.T, s *Store, next *redistest.Server) {
	t.Helper()
	direct, err := Open(t.Context(), Options{URLs: []string{next.URL()}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { direct.Close() })
	for i := 0; ; i++ {
		g := storetest.NewGrant(deviceauth.UserCode("BCDFGH" + strconv.Itoa(i)))
		if err := s.Create(t.Context(), g); err != nil {
			t.Logf("a change while the master is replaced: %v", err)
		} else if _, err := direct.Get(t.Context(), g.ID); err == nil {
			return
		}
		if i == 100 {
			t.Fatal("changes are still made at the old master")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
