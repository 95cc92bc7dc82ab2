package badgerdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
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
	if !needs.OwnProcess(t) {
		return
	}
	dir := filepath.Join(mountExt4(t), "store")
	d := open(t, optionsFor(dir, nil, nil))
	d.room.free = func() (uint64, error) { return 1 << 40, nil } // as if the check was just before
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
					name := fmt.Sprintf("%d%d%06d", round, worker, i)
					if putUnsynced(d, name, make([]byte, 1<<10)) == nil && put(d, name, changed) == nil {
						kept.changed(name)
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
	kept.check(t, d)
}

// Without blocks for the next WAL nothing is written, and Badger is not called.
func TestNextWALIsPreallocated(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, optionsFor(dir, nil, nil))
	if err := put(d, "x", []byte("old")); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(d.prealloc.walName(d.prealloc.next))
	if err != nil || info.Size() != 0 {
		t.Fatalf("the next WAL: %v, %v", info, err)
	}
	set := d.prealloc.allocate
	d.prealloc.allocate = func(string, int64) error { return unix.ENOSPC }
	os.Remove(d.prealloc.walName(d.prealloc.next)) // as if Badger used it
	if err := put(d, "x", []byte("new")); !errors.Is(err, errDiskFull) {
		t.Errorf("a change: %v", err)
	}
	d.prealloc.allocate = set
	time.Sleep(2 * CheckInterval)
	if err := put(d, "x", []byte("new")); err != nil {
		t.Errorf("a change, with room again: %v", err)
	}
	next := d.prealloc.walName(d.prealloc.next)
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(next); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the preallocated WAL is left: %v", err)
	}
}
