package badgerdb

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"

	"github.com/deviceauth/caddy-deviceauth/internal/testlog"
)

// fill writes records until level 0 has that many tables.
func (k *promised) fill(t *testing.T, d *DB, tables int) {
	t.Helper()
	for i := 0; d.db.Load().Levels()[0].NumTables < tables; i++ {
		name := fmt.Sprintf("%d%07d", tables, i)
		if err := putUnsynced(d, name, bytes.Repeat([]byte("x"), 64<<10)); err != nil {
			t.Fatal(err)
		}
		k.add(name)
	}
}

// obstructTables creates files with the names of Badger's next tables, once armed: after
// the next call of tryFile.
func obstructTables(t *testing.T, d *DB) (armed *atomic.Bool) {
	armed = new(atomic.Bool)
	trial := d.room.tryFile
	d.room.tryFile = func() error {
		err := trial()
		if armed.CompareAndSwap(true, false) {
			names, _ := filepath.Glob(filepath.Join(d.o.Dir, "*.sst"))
			last, _ := table.ParseFileID(slices.Max(names))
			for id := last + 1; id <= last+4; id++ {
				if file, err := os.OpenFile(table.NewFilename(id, d.o.Dir), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
					file.Close()
				} // or Badger was faster
			}
		}
		return err
	}
	return armed
}

// compactedOnce returns a database with a compacted table, and some that are not compacted.
func compactedOnce(t *testing.T, key []byte) (*DB, *promised, *atomic.Bool, *testlog.Buffer) {
	t.Helper()
	log, kept := new(testlog.Buffer), newPromised()
	o := optionsFor(filepath.Join(t.TempDir(), "store"), key, log)
	d := open(t, o)
	kept.fill(t, d, 1)
	if err := d.Close(0, nil); err != nil { // which compacts
		t.Fatal(err)
	}
	d = open(t, o)
	armed := obstructTables(t, d)
	for i := range 20 { // which have an older version in the compacted table
		name := fmt.Sprintf("1%07d", i)
		if err := put(d, name, changed); err != nil {
			t.Fatal(err)
		}
		kept.changed(name)
	}
	if err := put(d, "large", bytes.Repeat([]byte("x"), 1<<20+1)); err != nil { // which goes to the value log
		t.Fatal(err)
	}
	kept.fill(t, d, 2)
	return d, kept, armed, log
}

func flatten(t *testing.T, d *DB) {
	t.Helper()
	d.openMu.RLock() // keeps the database open
	defer d.openMu.RUnlock()
	if err := d.db.Load().Flatten(1); err != nil {
		t.Error(err)
	}
}

// A compaction that cannot create its tables after its check has created a file, for any
// reason.
//
// protocol 4
func TestCompactionThatFailsAfterItsCheckLosesNothing(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key []byte
		do  func(*testing.T, *DB)
	}{
		"and the database goes on": {nil, flatten},
		"and no iterator can be opened": {nil, func(t *testing.T, d *DB) {
			d.compactions.closing = true
			flatten(t, d)
		}},
		"encrypted":                         {aKey, flatten},
		"while it is closed":                {nil, nil},
		"while it is closed, and encrypted": {aKey, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.key != nil && testing.Short() {
				t.Skip("the same without a key is tried")
			}
			d, kept, armed, log := compactedOnce(t, test.key)
			armed.Store(true)
			if test.do != nil {
				test.do(t, d)
				waitUntilReopened(t, d)
				kept.check(t, d)
			}
			if err := d.Close(0, nil); err != nil {
				t.Error(err)
			}
			if decoded := log.String(); !strings.Contains(decoded, "could not make all of its new ones") {
				t.Errorf("it made them: %s", decoded)
			}
			d = open(t, optionsFor(d.o.Dir, test.key, nil))
			kept.check(t, d)
			large, err := get(d, "large")
			if err != nil || len(large) != 1<<20+1 || len(bytes.Trim(large, "x")) > 0 {
				t.Errorf("the large value has %d bytes, %v", len(large), err)
			}
			if lost := numberedDirs(d.o.Dir, lostPrefix); len(lost) > 0 {
				t.Errorf("there are %v", lost)
			}
		})
	}
}

// A compaction that creates all of its tables leaves nothing to recover.
func TestCompleteCompactionLeavesNothingToRecover(t *testing.T) {
	t.Parallel()
	d, kept, _, log := compactedOnce(t, nil)
	flatten(t, d)
	if n := d.db.Load().Levels()[0].NumTables; n > 0 {
		t.Fatalf("%d tables are not compacted", n)
	}
	kept.check(t, d)
	if left := numberedDirs(d.o.Dir, ""); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
	if err := d.Close(0, nil); err != nil {
		t.Error(err)
	}
	if decoded := log.String(); strings.Contains(decoded, "compaction") {
		t.Errorf("the log says %s", decoded)
	}
	if left := numberedDirs(d.o.Dir, ""); len(left) > 0 {
		t.Errorf("closed, there are %v", left)
	}
}

// Tables that were kept when the process ended in a compaction do not bring back what was
// deleted or changed.
//
// protocol 4
func TestKeptTablesBringNoOldVersionBack(t *testing.T) {
	t.Parallel()
	d, kept := open(t, optionsFor(t.TempDir(), nil, nil)), newPromised()
	change := func(name, to string) {
		if err := put(d, name, []byte(to)); err != nil {
			t.Fatal(err)
		}
	}
	again := func() {
		t.Helper()
		if err := d.Close(0, nil); err != nil { // which compacts
			t.Fatal(err)
		}
		d = open(t, optionsFor(d.o.Dir, nil, nil))
	}
	session := badger.NewEntry(keyOf("session"), []byte("alice")).WithTTL(time.Hour)
	if err := d.Commit(func(txn *badger.Txn) (bool, error) { return true, txn.SetEntry(session) }); err != nil {
		t.Fatal(err)
	}
	change("document", "old")
	again()
	if err := put(d, "session", nil); err != nil {
		t.Fatal(err)
	}
	kept.fill(t, d, 1) // so that the tombstone is in a table
	if _, err := keepTables(d.o.Dir, currentTables(d.db.Load()), copyFile); err != nil {
		t.Fatal(err)
	}
	change("document", "new")
	again() // the tombstone is gone, and so is what it deletes
	if session, err := get(d, "session"); session != nil || err != nil {
		t.Errorf("the session is %q, %v", session, err)
	}
	if document, err := get(d, "document"); string(document) != "new" || err != nil {
		t.Errorf("the document is %q, %v", document, err)
	}
	kept.check(t, d)
	if left := append(numberedDirs(d.o.Dir, lostPrefix), numberedDirs(d.o.Dir, overPrefix)...); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
}

// The undamaged blocks of a table that the MANIFEST lacks are recovered.
func TestUnlistedTableWithADamagedBlockIsRecoveredInPart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("go test without -short runs it: nothing in it runs beside another")
	}
	for _, key := range [][]byte{nil, aKey} {
		dir := t.TempDir()
		d := open(t, optionsFor(dir, key, nil))
		kept := newPromised()
		kept.fill(t, d, 1)
		if err := d.Close(0, nil); err != nil {
			t.Fatal(err)
		}
		truncateManifest(t, dir)
		tables, err := tablesIn(dir)
		if err != nil || len(tables) == 0 {
			t.Fatalf("%q, %v", tables, err)
		}
		info, err := os.Stat(tables[0])
		if err != nil {
			t.Fatal(err)
		}
		flipBit(t, tables[0], info.Size()/2)
		var log bytes.Buffer
		d = open(t, optionsFor(dir, key, &log))
		found := 0
		for name := range kept.values {
			if value, err := get(d, name); err == nil && value != nil {
				found++
			}
		}
		if found < len(kept.values)/2 || found == len(kept.values) {
			t.Errorf("%d of %d records are left", found, len(kept.values))
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "are damaged") {
			t.Errorf("the log says %s", log.String())
		}
	}
}
