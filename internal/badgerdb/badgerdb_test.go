package badgerdb

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// aKey encrypts the databases of tests.
var aKey = []byte("0123456789abcdef0123456789abcdef")

// optionsFor returns options for a database with names as keys, each of them after a byte. log
// nil: lines are discarded.
func optionsFor(dir string, key []byte, log io.Writer) Options {
	o := Options{Dir: dir, Key: key, Prefixes: "v", Secrets: "what is secret", Losses: "a change"}
	if log != nil {
		o.Log = slog.New(slog.NewTextHandler(log, nil))
	}
	return o
}

func keyOf(name string) []byte { return append([]byte{'v'}, name...) }

// open opens a database, which is closed at the end of the test.
func open(t *testing.T, o Options) *DB {
	t.Helper()
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(3*time.Second, nil) })
	return d
}

// put writes a value that is on the disk when it returns; nil: it deletes it.
func put(d *DB, name string, value []byte) error {
	return d.Commit(func(txn *badger.Txn) (bool, error) {
		if value == nil {
			return true, txn.Delete(keyOf(name))
		}
		return true, txn.Set(keyOf(name), value)
	})
}

// putUnsynced is put without a sync.
func putUnsynced(d *DB, name string, value []byte) error {
	return d.Update(func(txn *badger.Txn) error { return txn.Set(keyOf(name), value) })
}

// get returns a value; nil: there is none.
func get(d *DB, name string) (value []byte, err error) {
	err = d.View(func(txn *badger.Txn) error {
		item, err := txn.Get(keyOf(name))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			value, err = item.ValueCopy(nil)
		}
		return err
	})
	return value, err
}

func isDamage(err error) bool {
	_, is := errors.AsType[*DamageError](err)
	return is
}

func waitUntilReopened(t *testing.T, d *DB) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); d.broken.Load() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not heal")
		}
	}
}

// A change whose transaction has read what another one has changed meanwhile runs again.
func TestChangesAreNotLostInConflicts(t *testing.T) {
	t.Parallel()
	d := open(t, optionsFor(t.TempDir(), nil, nil))
	runs := 0
	add := func(txn *badger.Txn) error {
		if runs++; runs == 1 { // another writer, between the read and the commit
			if err := d.db.Load().Update(func(other *badger.Txn) error {
				return other.Set(keyOf("sum"), []byte("x"))
			}); err != nil {
				return err
			}
		}
		var sum []byte
		item, err := txn.Get(keyOf("sum"))
		if err == nil {
			sum, err = item.ValueCopy(nil)
		}
		if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
			return err
		}
		return txn.Set(keyOf("sum"), append(sum, 'y'))
	}
	if err := d.Update(add); err != nil {
		t.Fatal(err)
	}
	runs = 0
	if err := d.Commit(func(txn *badger.Txn) (bool, error) { return true, add(txn) }); err != nil {
		t.Fatal(err)
	}
	if sum, err := get(d, "sum"); err != nil || string(sum) != "xy" || runs != 2 {
		t.Errorf("%q after %d runs, %v", sum, runs, err)
	}
}

func TestClosedDatabaseRefuses(t *testing.T) {
	t.Parallel()
	d := open(t, optionsFor(t.TempDir(), nil, nil))
	if err := d.Close(0, func() {
		if err := put(d, "last", []byte("x")); err != nil {
			t.Errorf("the last write: %v", err)
		}
	}); err != nil {
		t.Fatal(err)
	}
	_, err := get(d, "last")
	for name, err := range map[string]error{"a read": err, "a change": put(d, "last", nil),
		"a change that is not synced": putUnsynced(d, "last", []byte("x"))} {
		if !errors.Is(err, badger.ErrDBClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if value, err := get(open(t, d.o), "last"); string(value) != "x" || err != nil {
		t.Errorf("the last write: %q, %v", value, err)
	}
}

// What Opened reads is what it would find later, and its error is one of Open.
func TestOpenedIsCalledWithEachDatabase(t *testing.T) {
	t.Parallel()
	o, calls, refusal := optionsFor(t.TempDir(), nil, nil), 0, errors.New("not like this")
	o.Opened = func(txn *badger.Txn) error {
		if calls++; calls == 1 {
			return refusal
		}
		if _, err := txn.Get(keyOf("x")); calls == 3 && err != nil {
			t.Errorf("the second database: %v", err)
		}
		return nil
	}
	if _, err := Open(o); !isDamage(err) || !strings.Contains(err.Error(), refusal.Error()) {
		t.Fatalf("got %v", err)
	}
	d := open(t, o)
	if err := put(d, "x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	d.markBroken(errDescriptors)
	waitUntilReopened(t, d)
	if calls != 3 {
		t.Errorf("it was called %d times", calls)
	}
}

func TestFullDiskIsATemporaryError(t *testing.T) {
	d := open(t, optionsFor(t.TempDir(), nil, nil))
	if err := put(d, "x", []byte("old")); err != nil {
		t.Fatal(err)
	}
	left := d.room.reserve() - 1
	d.room.free = func() (uint64, error) { return left, nil }
	change := func(how func(*DB, string, []byte) error) error {
		d.room.next = time.Time{}
		return how(d, "x", []byte("new"))
	}
	for name, how := range map[string]func(*DB, string, []byte) error{"synced": put, "not synced": putUnsynced} {
		if err := change(how); !errors.Is(err, errDiskFull) {
			t.Errorf("a change, %s: %v", name, err)
		}
	}
	if err := d.Writable(); !errors.Is(err, errDiskFull) {
		t.Errorf("a look: %v", err)
	}
	if got, err := get(d, "x"); err != nil || string(got) != "old" {
		t.Errorf("a change that failed is seen: %q, %v", got, err)
	}
	left++
	if err := change(put); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
}

// Compactions can wait; reopening a database needs less space.
func TestCompactionsWaitWhenLittleSpaceIsLeft(t *testing.T) {
	d := open(t, optionsFor(t.TempDir(), nil, nil))
	left := d.room.reserve() - 1
	d.room.free = func() (uint64, error) { return left, nil }
	if err := d.room.canMakeTables(); !errors.Is(err, errDiskFull) {
		t.Errorf("with less than a change needs: %v", err)
	}
	if err := d.room.requireFree(startReserve); err != nil {
		t.Errorf("a start: %v", err)
	}
	left++
	if err := d.room.canMakeTables(); err != nil {
		t.Errorf("with as much as a change needs: %v", err)
	}
}

func TestFreeSpaceIsMeasured(t *testing.T) {
	if left, err := freeSpace(t.TempDir()); err == nil && left == 0 {
		t.Error("nothing is left on this disk")
	}
	if _, err := freeSpace(filepath.Join(t.TempDir(), "nowhere")); err == nil {
		t.Error("there is room nowhere")
	}
}

// A commit whose sync failed is synced before anything that may rest on it is answered.
func TestRetryOfAChangeThatWasNotSyncedIsSynced(t *testing.T) {
	d := open(t, optionsFor(t.TempDir(), nil, nil))
	if err := put(d, "x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	d.unsynced = true
	if err := d.Commit(func(*badger.Txn) (bool, error) { return false, nil }); err != nil {
		t.Fatal(err)
	}
	if d.unsynced {
		t.Error("it was answered without a sync")
	}
}

// Expired records are removed from the disk by dropExpired, and a database in which records
// come and go does not grow without end.
func TestExpiredRecordsLeaveTheDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		d := open(t, optionsFor(dir, nil, nil))
		began := time.Now()
		if err := put(d, "needed", []byte("x")); err != nil {
			t.Fatal(err)
		}
		days := 3
		if testing.Short() {
			days = 1
		}
		for day := range days {
			for i := range 300 {
				e := badger.NewEntry(keyOf(fmt.Sprint(day, i)), []byte("expired-device")).WithTTL(10 * time.Minute)
				if err := d.Update(func(txn *badger.Txn) error { return txn.SetEntry(e) }); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(time.Until(began.Add(time.Duration(day+1) * 12 * time.Minute)))
			if err := d.dropExpired(); err != nil {
				t.Fatal(err)
			}
			// some of the junk may stay until the next run
			if found, size := onDisk(t, dir, "expired-device"); found || size > 4*memTable {
				t.Errorf("tidied: tables of %d bytes, with what has expired: %v", size, found)
			}
		}
		if got, err := get(d, "needed"); err != nil || string(got) != "x" {
			t.Errorf("what is needed: %q, %v", got, err)
		}
	})
}

// onDisk searches the tables for a text, and adds up their sizes.
func onDisk(t *testing.T, dir, text string) (found bool, size int) {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.sst")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		size += len(content)
		found = found || bytes.Contains(content, []byte(text))
	}
	return found, size
}
