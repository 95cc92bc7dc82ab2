package badgerdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
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

// The allocation of tables' blocks relies on a variable of another package.
func TestTablesArePreallocated(t *testing.T) {
	if !preallocatesTables {
		t.Fatal("the blocks of tables are not allocated: has golang.org/x/sys/unix another variable mapper?")
	}
	dir := mountExt4(t)
	create := func(id uint64) (*table.Table, error) {
		b := table.NewTableBuilder(table.Options{TableSize: 4 << 20, BlockSize: 4 << 10, BloomFalsePositive: 0.01})
		defer b.Close()
		for i := range 4 << 10 {
			key := y.KeyWithTs([]byte(strings.Repeat("k", 4)+string(rune('a'+i>>8))+string(rune('a'+i&0xff))), 1)
			b.Add(key, y.ValueStruct{Value: make([]byte, 512)}, 0)
		}
		return table.CreateTable(table.NewFilename(id, dir), b)
	}
	whole, err := create(1)
	if err != nil {
		t.Fatal(err)
	}
	defer whole.Close(-1)
	back := fillDisk(t, filepath.Join(dir, "ballast"))
	if _, err := create(2); err == nil || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) {
		t.Errorf("a table on a full disk: %v; want %v", err, syscall.ENOSPC)
	}
	if _, err := os.Stat(table.NewFilename(2, dir)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a table without blocks is left: %v", err)
	}
	back()
	again, err := create(2)
	if err != nil {
		t.Fatal(err)
	}
	again.Close(-1)
}

// The disk is full when a memtable has to be flushed, and no check has noticed.
//
// protocol 4
func TestMemtableFlushToAFullDiskIsRetried(t *testing.T) {
	if !needs.OwnProcess(t) {
		return
	}
	dir := filepath.Join(mountExt4(t), "store")
	d := open(t, optionsFor(dir, nil, nil))
	d.room.free = func() (uint64, error) { return 1 << 40, nil }
	written := ""
	write := func(text string) error {
		text += strings.Repeat("x", 200<<10)
		err := put(d, "x", []byte(text))
		if err == nil {
			written = text
		}
		return err
	}
	if err := write("before"); err != nil {
		t.Fatal(err)
	}
	back := fillDisk(t, filepath.Join(filepath.Dir(dir), "ballast"))
	for deadline := time.Now().Add(30 * time.Second); d.log.flushFailedAt.Load() == 0; {
		write("while it is full")
		if time.Now().After(deadline) {
			t.Fatal("no memory became a table")
		}
	}
	back()
	for deadline := time.Now().Add(30 * time.Second); write("with room again") != nil; time.Sleep(CheckInterval) {
		if time.Now().After(deadline) {
			t.Fatal("the database does not heal")
		}
	}
	if value, err := get(d, "x"); err != nil || string(value) != written {
		t.Errorf("what was written last is not there: %v", err)
	}
}
