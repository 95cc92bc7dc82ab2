package badgerdb

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
	"github.com/deviceauth/caddy-deviceauth/internal/testlog"
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
func TestDatabaseThatCanMakeNoFileReopens(t *testing.T) {
	for name, lack := range shortages {
		for _, looks := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, looked at %v", name, looks), func(t *testing.T) {
				t.Parallel() // in processes of their own
				if needs.OwnProcess(t) {
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
	d := open(t, optionsFor(dir, nil, nil))
	if !looks { // as if the shortage began between the check and the write
		d.room.filesLeft = func() error { return nil }
	}
	kept := newPromised()
	type failure struct {
		err error
		at  time.Time
	}
	var first atomic.Pointer[failure]
	var next atomic.Int64
	write := func(stop func() bool) {
		for !stop() {
			name := fmt.Sprint(next.Add(1))
			if err := putUnsynced(d, name, make([]byte, 16<<10)); err != nil { // so large that a memtable is soon full
				first.CompareAndSwap(nil, &failure{err: err, at: time.Now()})
				continue
			}
			kept.add(name)
			if put(d, name, changed) == nil {
				kept.changed(name)
			}
		}
	}
	all := func(stop func() bool) { runConcurrently(32, func() { write(stop) }) }
	all(after(loadTime))
	first.Store(nil)
	back := lack(t, dir)
	most := after(maxShortageTime)
	all(func() bool {
		failed := first.Load()
		return most() || failed != nil && time.Since(failed.at) > loadTime
	})
	back()
	failed := first.Load()
	if failed == nil {
		t.Fatal("it lacked nothing")
	}
	if text := failed.err.Error(); !strings.HasPrefix(text, "badger store: ") || strings.Contains(text, "goroutine") {
		t.Errorf("it says %v", text)
	}
	waitUntilWritable(t, d)
	kept.check(t, d)
	if err := d.Close(0, nil); err != nil {
		t.Error(err)
	}
	kept.check(t, open(t, optionsFor(dir, nil, nil)))
}

// runConcurrently runs workers, and waits for all of them.
func runConcurrently(workers int, work func()) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(work)
	}
	wg.Wait()
}

// waitUntilWritable waits until the database takes a change again.
func waitUntilWritable(t *testing.T, d *DB) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := put(d, "after the shortage", changed)
		if err == nil {
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

// changed is a second value of a record.
var changed = []byte("changed")

// promised is what a database has answered that it keeps.
type promised struct {
	mu     sync.Mutex
	values map[string][]byte // what each one must be; nil: something
}

func newPromised() *promised { return &promised{values: map[string][]byte{}} }

func (k *promised) add(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[name] = nil
}

func (k *promised) changed(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[name] = changed
}

func (k *promised) check(t *testing.T, d *DB) {
	t.Helper()
	lost := 0
	for name, want := range k.values {
		value, err := get(d, name)
		if err != nil || value == nil || want != nil && !bytes.Equal(value, want) {
			lost++
		}
	}
	if lost > 0 || len(k.values) == 0 {
		t.Errorf("%d of %d records are lost", lost, len(k.values))
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
			dir, log := filepath.Join(mountExt4(t), "store"), new(testlog.Buffer)
			kept := newPromised()
			d := open(t, optionsFor(dir, nil, nil))
			kept.fill(t, d, 1)
			if err := d.Close(0, nil); err != nil { // which compacts
				t.Fatal(err)
			}
			d = open(t, optionsFor(dir, nil, log))
			kept.fill(t, d, 2)
			back := shortages[name](t, dir)
			compacted := make(chan error, 1)
			go func() { compacted <- d.db.Load().Flatten(1) }()
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
			kept.check(t, d)
			if err := d.Close(0, nil); err != nil {
				t.Error(err)
			}
			kept.check(t, open(t, optionsFor(dir, nil, nil)))
		})
	}
}
