package badgerdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Close does not wait for a database that cannot be reopened.
func TestBrokenDatabaseCloses(t *testing.T) {
	t.Parallel()
	o, calls := optionsFor(t.TempDir(), nil, nil), 0
	o.Opened = func(*badger.Txn) error {
		if calls++; calls > 1 {
			return errors.New("no")
		}
		return nil
	}
	d := open(t, o)
	d.checkBroken(fmt.Errorf("writeRequests: %s: open: input/output error", noMemtable))
	if err := d.Close(3*time.Second, nil); err != nil {
		t.Error(err)
	}
}

// A database that was given up refuses readers, and takes what its last write still has.
//
// protocol 4
func TestGivenUpDatabaseTakesItsLastWrites(t *testing.T) {
	t.Parallel()
	dir, gaveUp, written := t.TempDir(), make(chan struct{}), make(chan error, 1)
	d := open(t, optionsFor(dir, nil, nil))
	err := d.Close(time.Millisecond, func() {
		<-gaveUp
		written <- putUnsynced(d, "last", []byte("x"))
	})
	if err == nil || !strings.Contains(err.Error(), "does not close") {
		t.Errorf("got %v", err)
	}
	if _, err := get(d, "last"); !errors.Is(err, badger.ErrDBClosed) {
		t.Errorf("a reader gets %v", err)
	}
	close(gaveUp)
	if err := <-written; err != nil {
		t.Error(err)
	}
	d = reopened(t, dir)
	if _, err := get(d, "last"); err != nil {
		t.Error(err)
	}
	d.Close(0, nil)
	if err := d.Writable(); !errors.Is(err, badger.ErrDBClosed) {
		t.Errorf("after its end it is writable: %v", err)
	}
}

// reopened opens a directory as soon as a database that was given up has closed.
func reopened(t *testing.T, dir string) *DB {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		d, err := Open(optionsFor(dir, nil, nil))
		if err == nil {
			t.Cleanup(func() { d.Close(3*time.Second, nil) })
			return d
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// What large tables need to be compacted is known.
func TestTablesAreMeasured(t *testing.T) {
	t.Parallel()
	dir, _ := closedWithTable(t, nil)
	if n := open(t, optionsFor(dir, nil, nil)).room.tables(); n == 0 {
		t.Error("the tables have no size")
	}
}

func TestPrefixesAreRequired(t *testing.T) {
	t.Parallel()
	for _, prefixes := range []string{"", "v\xff", "!v"} {
		o := optionsFor(t.TempDir(), nil, nil)
		o.Prefixes = prefixes
		if d, err := Open(o); err == nil {
			d.Close(0, nil)
			t.Errorf("%q is taken", prefixes)
		}
	}
}

// protocol 4
func TestTableLostByTheDiskIsAnErrorNotACrash(t *testing.T) {
	t.Parallel()
	dir, tables := closedWithTable(t, nil)
	d := open(t, optionsFor(dir, nil, nil))
	for _, table := range tables {
		if err := os.Truncate(table, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := get(d, "x"); err == nil {
		t.Error("it can be read")
	}
	err := d.Commit(func(txn *badger.Txn) (bool, error) {
		_, err := txn.Get(keyOf("x"))
		return true, err
	})
	if err == nil {
		t.Error("it can be changed")
	}
}

// A file that cannot be made for a memtable has the database reopened, with everything that
// was answered.
//
// protocol 4
func TestDatabaseWithoutAFileForItsMemtableReopens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, optionsFor(dir, nil, nil))
	var blocked []string
	for n := 2; n < 60; n++ {
		name := filepath.Join(dir, fmt.Sprintf("%05d.mem", n))
		if err := os.WriteFile(name, []byte{1}, 0o600); err != nil { // an empty one would be taken for a new WAL
			t.Fatal(err)
		}
		blocked = append(blocked, name)
	}
	answered, err := 0, error(nil)
	for n := 1; err == nil && n < 2000; n++ {
		value := append(make([]byte, 200<<10), byte(n), byte(n>>8))
		if err = put(d, "large", value); err == nil {
			answered = n
		}
	}
	if err == nil || !strings.Contains(err.Error(), noMemtable) {
		t.Fatalf("after %d changes: %v", answered, err)
	}
	for name, err := range map[string]error{
		"a change": put(d, "x", []byte("x")), "a look": d.Writable(), "a read": second(get(d, "large")),
	} {
		if err == nil || !strings.Contains(err.Error(), "until it can be opened again") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range blocked {
		os.Remove(name)
	}
	waitUntilReopened(t, d)
	value, err := get(d, "large")
	if size := 200 << 10; err != nil || len(value) != size+2 || int(value[size])+int(value[size+1])<<8 != answered {
		t.Errorf("what was answered last is lost: %d bytes, %v", len(value), err)
	}
}

func second[A any](_ A, err error) error { return err }
