package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

// faultsFor is how long each store meets with faults. The promise is tried out with
// -faults 30m.
var faultsFor = flag.Duration("faults", 5*time.Second, "how long each store meets with faults")

// A fault begins, and returns what ends it.
type fault struct {
	name  string
	begin func() (end func())
}

// shared are the documents that gateways share, and the store may lose.
var shared = []string{"keyring", "paused", "signed-out-00"}

// ofCalls are the faults of a faulty gateway's calls.
func ofCalls(g *gateway) (list []fault) {
	for name, f := range map[string]faults{
		"errors":            {Errors: 0.3},
		"nothing but error": {Errors: 1},
		"answers lost":      {Unheard: 0.3},
		"slowness":          {Slow: 0.5, SlowFor: 300 * time.Millisecond},
		"all of them":       {Errors: 0.2, Unheard: 0.2, Slow: 0.3, SlowFor: 100 * time.Millisecond},
		"lost documents":    {Lose: shared},
	} {
		list = append(list, fault{name: name, begin: func() func() {
			g.meets(f)
			return func() { g.meets(faults{}) }
		}})
	}
	return list
}

// ofDisk are the faults of the file system that a gateway's store is on.
func ofDisk(t *testing.T, g *gateway) []fault {
	ballast := filepath.Join(g.dir, "data", "ballast")
	return []fault{
		{name: "a full disk", begin: func() func() {
			file, err := os.Create(ballast)
			if err != nil {
				return func() {}
			}
			for size := int64(1 << 30); size >= 4<<10; size /= 2 { // as much as there is
				for at := int64(0); unix.Fallocate(int(file.Fd()), 0, at, size) == nil; at += size {
				}
			}
			return func() { file.Close(); os.Remove(ballast) }
		}},
		{name: "no inodes", begin: func() func() {
			var names []string
			for i := range 10_000 {
				name := fmt.Sprintf("%s-%d", ballast, i)
				if err := os.WriteFile(name, nil, 0o600); err != nil {
					break
				}
				names = append(names, name)
			}
			return func() {
				for _, name := range names {
					os.Remove(name)
				}
			}
		}},
		{name: "no descriptors", begin: func() func() {
			files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.cmd.Process.Pid))
			if err != nil {
				t.Error(err)
				return func() {}
			}
			most := g.openFiles(uint64(len(files)) + 8)
			return func() { g.openFiles(most) }
		}},
		{name: "a directory that nothing can be made in", begin: func() func() {
			change := func(how string) {
				if out, err := exec.Command("chattr", how, g.storeDir()).CombinedOutput(); err != nil {
					t.Errorf("chattr %s: %v %s", how, err, out)
				}
			}
			change("+i")
			return func() { change("-i") }
		}},
	}
}

// ofRedis are the faults of a server.
func ofRedis(server *redistest.Server, g *gateway) []fault {
	operator := server.Operator()
	forget := func() {
		var keys []string
		for _, name := range shared {
			keys = append(keys, "device_login:v:"+name)
		}
		operator.Forget(keys...)
	}
	setting := func(name, value, usual string) func() func() {
		return func() func() {
			operator.Set(name, value)
			operator.Disconnect()
			return func() { operator.Set(name, usual) }
		}
	}
	return []fault{
		{name: "a server that is held up", begin: func() func() { server.Pause(); return server.Resume }},
		{name: "a server that is gone", begin: func() func() { server.Kill(); return server.Start }},
		{name: "connections that break", begin: func() func() { operator.Disconnect(); return func() {} }},
		{name: "a full memory", begin: setting("maxmemory", "1", "0")},
		{name: "no descriptors", begin: setting("maxclients", "2", "10000")},
		{name: "lost documents", begin: func() func() {
			forget()
			return func() { g.ask("POST", "keys/rotate", "") } // what is due every minute, now
		}},
	}
}

// injure has faults come and go until the time is over.
func injure(list []fault, until time.Time) (met map[string]int) {
	met = map[string]int{}
	for time.Now().Before(until) {
		f := list[rand.IntN(len(list))]
		met[f.name]++
		end := f.begin()
		time.Sleep(rand.N(700 * time.Millisecond))
		end()
		time.Sleep(rand.N(300 * time.Millisecond))
	}
	return met
}

// heals returns when a gateway takes what it is asked again.
func (g *gateway) heals() {
	g.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		asked := new(device)
		if g.post("/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}}, asked) == http.StatusOK {
			return
		}
		if time.Now().After(end) || g.t.Failed() {
			g.t.Fatalf("it does not heal:\n%s", g.log)
		}
	}
}

// endure has 32 devices and two persons live with faults, round by round, and looks
// after each at all that they were handed.
func endure(t *testing.T, all []*gateway, list []fault) []*patient {
	approved := make(chan string, 256)
	devices := make([]*patient, 32)
	for i := range devices {
		devices[i] = &patient{survivor: survivor{g: all[i%len(all)]}, all: all, approved: approved}
	}
	people := []*person{signedIn(t, all[0]), signedIn(t, all[0])}
	met := map[string]int{}
	for deadline := time.Now().Add(*faultsFor); time.Now().Before(deadline) && !t.Failed(); {
		until := time.Now().Add(min(5*time.Second, time.Until(deadline)))
		over := make(chan struct{})
		var wg sync.WaitGroup
		for i, h := range devices {
			wg.Go(func() {
				if err := h.live(t.Context(), over); err != nil {
					t.Errorf("device %d: %v", i, err)
				}
			})
		}
		for i, p := range people {
			wg.Go(func() { p.approve(all[i%len(all)], approved, over) })
		}
		for name, n := range injure(list, until) {
			met[name] += n
		}
		close(over)
		wg.Wait()
		look(t, all, devices)
	}
	conclude(t, devices, met)
	for _, g := range all {
		if strings.Contains(g.log.String(), "panic") {
			t.Errorf("a panic:\n%s", g.log)
		}
	}
	return devices
}

// approve says yes to code after code. What the person was told counts.
func (p *person) approve(g *gateway, approved chan<- string, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		default:
		}
		if code, confirmed := p.approves(g); confirmed && len(approved) < cap(approved) {
			approved <- code
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// look looks at what the devices were handed, when all is calm.
func look(t *testing.T, all []*gateway, devices []*patient) {
	t.Helper()
	for _, g := range all {
		if err := g.cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Fatalf("a gateway has ended: %v\n%s", err, g.log)
		}
		g.heals()
	}
	for i, h := range devices {
		if err := h.settled(context.Background()); err != nil {
			t.Errorf("device %d, when all is calm: %v", i, err)
		}
	}
}

func conclude(t *testing.T, devices []*patient, met map[string]int) {
	t.Helper()
	redeemed, answered, turned := 0, 0, 0
	for _, h := range devices {
		redeemed, answered, turned = redeemed+h.redeemed, answered+h.answered, turned+h.turned
	}
	t.Logf("%d codes gave tokens, %d requests were answered, %d were 503; faults: %v", redeemed, answered, turned, met)
	if redeemed == 0 || answered == 0 || turned == 0 {
		t.Error("nothing was given, or nothing failed: this tested nothing")
	}
}

// Whatever the store meets with, at random and under load: no gateway ends, nothing
// is given twice, and nothing is lost that was handed out.
//
// protocol 4, 17, 20, 24
func TestFaultsOfTheStoreEndNothingAndLoseNothing(t *testing.T) {
	t.Parallel()
	t.Run("Badger", func(t *testing.T) {
		g := newFaulty(t, "pending address 100000\n\t\tlifetime device_code 2m")
		newDisk(t, filepath.Join(g.dir, "data"), "-N", "2000")
		g.start()
		all := []*gateway{g}
		devices := endure(t, all, append(ofCalls(g), ofDisk(t, g)...))
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		g.ends(2 * stopTime) // net/http waits 5 s for a connection that was never used, of the demo's to itself too
		g.start()
		look(t, all, devices)
	})
	t.Run("Redis", func(t *testing.T) {
		server := redistest.Start(t)
		all := startCluster(t, 2, "lifetime device_code 2m\n\t\tstore redis "+server.URL())
		endure(t, all, ofRedis(server, all[0]))
	})
}
