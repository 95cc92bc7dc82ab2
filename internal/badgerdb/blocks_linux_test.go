package badgerdb

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

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
