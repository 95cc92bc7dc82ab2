package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// A shortage makes it impossible to create a file in a store's directory, or for the
// process. It returns a function that ends the shortage.
type shortage func(t *testing.T, dir string) (back func())

var shortages = map[string]shortage{
	"no inodes": func(t *testing.T, dir string) func() {
		var names []string
		for i := range 10_000 {
			name := filepath.Join(filepath.Dir(dir), fmt.Sprintf("ballast%d", i))
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
	},
	"a directory that nothing can be made in": func(t *testing.T, dir string) func() {
		needs.Program(t, "ext4", "chattr")
		change := func(how string) {
			if out, err := exec.Command("chattr", how, dir).CombinedOutput(); err != nil {
				t.Errorf("chattr: %v %s", err, out)
			}
		}
		change("+i")
		return func() { change("-i") }
	},
	"no descriptors": func(t *testing.T, dir string) func() {
		var before, now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &before); err != nil {
			t.Fatal(err)
		}
		files, _ := os.ReadDir("/proc/self/fd")
		now = before
		now.Cur = uint64(len(files)) // one of which is the directory's own
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
			t.Fatal(err)
		}
		return func() { syscall.Setrlimit(syscall.RLIMIT_NOFILE, &before) }
	},
}

// mountExt4 mounts a small ext4 with few inodes, and returns its directory.
func mountExt4(t *testing.T) string {
	t.Helper()
	needs.Program(t, "ext4", "mkfs.ext4")
	image, at := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 512<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-N", "600", image).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		needs.Lacking(t, "ext4", fmt.Sprintf("this test needs to mount a file system: %v %s", err, out))
	}
	t.Cleanup(func() { exec.Command("umount", "-l", at).Run() })
	return at
}

// If Badger cannot create its next file, for any reason, the process goes on, nothing that
// was answered is lost, and the store recovers by itself.
//
// protocol 4
func TestStoreThatCanMakeNoFileReopens(t *testing.T) {
	for name, lack := range shortages {
		for _, looks := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, looked at %v", name, looks), func(t *testing.T) {
				t.Parallel() // in processes of their own
				if InChild(t) {
					testShortage(t, lack, looks)
				}
			})
		}
	}
}

// loadTime is how long the test writes before the shortage, and after its first error.
const loadTime = 500 * time.Millisecond

// maxShortageTime is longer than it takes until the first error.
const maxShortageTime = 10 * time.Second

func testShortage(t *testing.T, lack shortage, looks bool) {
	dir := filepath.Join(mountExt4(t), "store")
	s := open(t, Options{Dir: dir})
	if !looks { // as if the shortage began between the check and the write
		s.room.filesLeft = nil
	}
	kept := newPromised()
	var hit atomic.Int64 // when the first call failed, in Unix nanoseconds
	write := func(worker int, stop func() bool) {
		for i := 0; !stop(); i++ {
			g := pending(deviceauth.UserCode(fmt.Sprintf("%02d%06d", worker, i)))
			g.Audience = []string{strings.Repeat("x", 16<<10)} // so that a memtable is soon full
			if err := s.Create(t.Context(), g); err != nil {
				if !errors.Is(err, deviceauth.ErrExists) { // created earlier by the same worker
					hit.CompareAndSwap(0, time.Now().UnixNano())
				}
				continue
			}
			kept.add(g)
			if s.Update(t.Context(), g.ID, func(g *deviceauth.Grant) error { g.Name = "changed"; return nil }) == nil {
				kept.changed(g)
			}
		}
	}
	all := func(stop func() bool) { runConcurrently(32, func(worker int) { write(worker, stop) }) }
	all(after(loadTime))
	hit.Store(0)
	back := lack(t, dir)
	most := after(maxShortageTime)
	all(func() bool {
		first := hit.Load()
		return most() || first > 0 && time.Since(time.Unix(0, first)) > loadTime
	})
	err := s.Create(t.Context(), pending("ZZZZZZZZ"))
	back()
	if err == nil {
		t.Fatal("it lacked nothing")
	}
	if !strings.HasPrefix(err.Error(), "badger store: ") || strings.Contains(err.Error(), "goroutine") {
		t.Errorf("it says %v", err)
	}
	waitUntilWritable(t, s)
	kept.check(t, s)
	if err := s.closeWhole(); err != nil {
		t.Error(err)
	}
	kept.check(t, open(t, Options{Dir: dir}))
}

// runConcurrently runs workers, and waits for all of them.
func runConcurrently(workers int, work func(worker int)) {
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() { work(worker) })
	}
	wg.Wait()
}

// waitUntilWritable waits until the store accepts a grant again.
func waitUntilWritable(t *testing.T, s *Store) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := s.Create(t.Context(), pending("YYYYYYYY"))
		if err == nil || errors.Is(err, deviceauth.ErrExists) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("it does not heal: %v", err)
		}
	}
}

func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// promised is what a store has answered that it keeps.
type promised struct {
	mu     sync.Mutex
	grants map[deviceauth.ID]string // the least that each one's name must be
}

func newPromised() *promised { return &promised{grants: map[deviceauth.ID]string{}} }

func (k *promised) add(g *deviceauth.Grant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.grants[g.ID] = ""
}

func (k *promised) changed(g *deviceauth.Grant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.grants[g.ID] = "changed"
}

func (k *promised) check(t *testing.T, s *Store) {
	t.Helper()
	lost := 0
	for id, label := range k.grants {
		g, err := s.Get(t.Context(), id)
		if err != nil || label != "" && g.Name != label {
			lost++
		}
	}
	if lost > 0 || len(k.grants) == 0 {
		t.Errorf("%d of %d grants are lost", lost, len(k.grants))
	}
}

// Badger takes a compaction whose new tables could not be created for successful, and drops
// the old ones.
//
// protocol 4
func TestCompactionThatCanMakeNoFileLosesNothing(t *testing.T) {
	for _, name := range []string{"no inodes", "a directory that nothing can be made in"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, log := filepath.Join(mountExt4(t), "store"), new(logBuffer)
			kept := newPromised()
			s := open(t, Options{Dir: dir})
			kept.fill(t, s, 1)
			if err := s.closeWhole(); err != nil { // which compacts
				t.Fatal(err)
			}
			s = open(t, Options{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
			kept.fill(t, s, 2)
			back := shortages[name](t, dir)
			compacted := make(chan error, 1)
			go func() { compacted <- s.db.Load().Flatten(1) }()
			for end := after(20 * time.Second); !strings.Contains(log.String(), "a compaction waits"); {
				if time.Sleep(time.Millisecond); end() {
					t.Error("it does not wait")
					break
				}
			}
			back()
			if err := <-compacted; err != nil {
				t.Errorf("the compaction, later: %v", err)
			}
			kept.check(t, s)
			if err := s.closeWhole(); err != nil {
				t.Error(err)
			}
			kept.check(t, open(t, Options{Dir: dir}))
		})
	}
}
