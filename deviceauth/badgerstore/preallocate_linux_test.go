package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// fillDisk takes all the free space of a file system at once.
func fillDisk(t *testing.T, name string) (back func()) {
	t.Helper()
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(0)
	for size := int64(1 << 30); size >= 4<<10; size /= 2 {
		for unix.Fallocate(int(file.Fd()), 0, at, size) == nil {
			at += size
		}
	}
	return func() { file.Close(); os.Remove(name) }
}

// The disk becomes full between a check and the write.
//
// protocol 4
func TestDiskThatFillsBetweenCheckAndWriteCrashesNothing(t *testing.T) {
	if !InChild(t) {
		return
	}
	dir := filepath.Join(mountExt4(t), "store")
	s := open(t, Options{Dir: dir})
	s.room.free = func() (uint64, error) { return 1 << 40, nil } // as if the check was just before
	kept := newPromised()
	for round := range 10 {
		over, wrote := make(chan struct{}), make(chan struct{}, 1)
		var wg sync.WaitGroup
		for worker := range 4 {
			wg.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-over:
						return
					default:
					}
					g := pending(deviceauth.UserCode(fmt.Sprintf("%d%d%06d", round, worker, i)))
					change := func(g *deviceauth.Grant) error { g.Name = "changed"; return nil }
					if s.Create(t.Context(), g) == nil && s.Update(t.Context(), g.ID, change) == nil {
						kept.changed(g)
						select {
						case wrote <- struct{}{}:
						default:
						}
					}
				}
			})
		}
		<-wrote
		back := fillDisk(t, filepath.Join(filepath.Dir(dir), "ballast"))
		for range 10 { // the blocks are there
			<-wrote
		}
		close(over)
		wg.Wait()
		back()
	}
	kept.check(t, s)
}

// Without blocks for the next WAL nothing is written, and Badger is not called.
func TestNextWALIsPreallocated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	g := active("BCDFGHJK")
	if err := s.put(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(s.prealloc.walName(s.prealloc.next))
	if err != nil || info.Size() != 0 {
		t.Fatalf("the next WAL: %v, %v", info, err)
	}
	set := s.prealloc.allocate
	s.prealloc.allocate = func(string, int64) error { return unix.ENOSPC }
	os.Remove(s.prealloc.walName(s.prealloc.next)) // as if Badger used it
	if err := s.Update(t.Context(), g.ID, unchanged); !errors.Is(err, errDiskFull) {
		t.Errorf("a change: %v", err)
	}
	s.prealloc.allocate = set
	time.Sleep(2 * spaceCheckInterval)
	if err := s.Update(t.Context(), g.ID, unchanged); err != nil {
		t.Errorf("a change, with room again: %v", err)
	}
	next := s.prealloc.walName(s.prealloc.next)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(next); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the preallocated WAL is left: %v", err)
	}
}
