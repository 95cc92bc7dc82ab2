package badgerstore

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4/table"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// fill creates grants until level 0 has that many tables.
func (k *promised) fill(t *testing.T, s *Store, tables int) {
	t.Helper()
	for i := 0; s.db.Load().Levels()[0].NumTables < tables; i++ {
		g := pending(deviceauth.UserCode(fmt.Sprintf("%d%07d", tables, i)))
		g.Audience = []string{strings.Repeat("x", 64<<10)}
		if err := s.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		k.add(g)
	}
}

// obstructTables creates files with the names of Badger's next tables, once armed: after
// the next call of tryFile.
func obstructTables(t *testing.T, s *Store) (armed *atomic.Bool) {
	armed = new(atomic.Bool)
	trial := s.room.tryFile
	s.room.tryFile = func() error {
		err := trial()
		if armed.CompareAndSwap(true, false) {
			names, _ := filepath.Glob(filepath.Join(s.dir, "*.sst"))
			last, _ := table.ParseFileID(slices.Max(names))
			for id := last + 1; id <= last+4; id++ {
				if file, err := os.OpenFile(table.NewFilename(id, s.dir), os.O_CREATE|os.O_EXCL, 0o600); err == nil {
					file.Close()
				} // or Badger was faster
			}
		}
		return err
	}
	return armed
}

// compactedOnce returns a store with a compacted table, and some that are not compacted.
func compactedOnce(t *testing.T, key deviceauth.Secret) (*Store, *promised, *atomic.Bool, *logBuffer) {
	t.Helper()
	log, kept := new(logBuffer), newPromised()
	o := Options{
		Dir: filepath.Join(t.TempDir(), "store"), EncryptionKey: key, Log: slog.New(slog.NewTextHandler(log, nil)),
	}
	s := open(t, o)
	kept.fill(t, s, 1)
	if err := s.closeWhole(); err != nil { // which compacts
		t.Fatal(err)
	}
	s = open(t, o)
	armed := obstructTables(t, s)
	changed := 0
	for id := range kept.grants { // which have an older version in the compacted table
		if changed++; changed > 20 {
			break
		}
		change := func(g *deviceauth.Grant) error { g.Name = "changed"; return nil }
		if err := s.Update(t.Context(), id, change); err != nil {
			t.Fatal(err)
		}
		kept.grants[id] = "changed"
	}
	document := bytes.Repeat([]byte("x"), 1<<20+1) // which goes to the value log
	if err := s.UpdateDocument(t.Context(), "large",
		func([]byte) ([]byte, error) { return document, nil }); err != nil {
		t.Fatal(err)
	}
	kept.fill(t, s, 2)
	return s, kept, armed, log
}

func flatten(t *testing.T, s *Store) {
	t.Helper()
	s.openMu.RLock() // keeps the database open
	defer s.openMu.RUnlock()
	if err := s.db.Load().Flatten(1); err != nil {
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
		key deviceauth.Secret
		do  func(*testing.T, *Store)
	}{
		"and the store goes on": {"", flatten},
		"and no iterator can be opened": {"", func(t *testing.T, s *Store) {
			s.compactions.closing = true
			flatten(t, s)
		}},
		"encrypted":                         {aKey, flatten},
		"while the store is closed":         {"", nil},
		"while it is closed, and encrypted": {aKey, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.key != "" && testing.Short() {
				t.Skip("the same without a key is tried")
			}
			s, kept, armed, log := compactedOnce(t, test.key)
			armed.Store(true)
			if test.do != nil {
				test.do(t, s)
				waitUntilReopened(t, s)
				kept.check(t, s)
			}
			if err := s.closeWhole(); err != nil {
				t.Error(err)
			}
			if decoded := log.String(); !strings.Contains(decoded, "could not make all of its new ones") {
				t.Errorf("it made them: %s", decoded)
			}
			s = open(t, Options{Dir: s.dir, EncryptionKey: test.key})
			kept.check(t, s)
			document, err := s.LoadDocument(t.Context(), "large")
			if err != nil || len(document) != 1<<20+1 || len(bytes.Trim(document, "x")) > 0 {
				t.Errorf("the document has %d bytes, %v", len(document), err)
			}
			if lost := numberedDirs(s.dir, lostPrefix); len(lost) > 0 {
				t.Errorf("there are %v", lost)
			}
		})
	}
}

func waitUntilReopened(t *testing.T, s *Store) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); s.broken.Load() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not heal")
		}
	}
}

// A compaction that creates all of its tables leaves nothing to recover.
func TestCompleteCompactionLeavesNothingToRecover(t *testing.T) {
	t.Parallel()
	s, kept, _, log := compactedOnce(t, "")
	flatten(t, s)
	if n := s.db.Load().Levels()[0].NumTables; n > 0 {
		t.Fatalf("%d tables are not compacted", n)
	}
	kept.check(t, s)
	if left := numberedDirs(s.dir, ""); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
	if err := s.closeWhole(); err != nil {
		t.Error(err)
	}
	if decoded := log.String(); strings.Contains(decoded, "compaction") {
		t.Errorf("the log says %s", decoded)
	}
	if left := numberedDirs(s.dir, ""); len(left) > 0 {
		t.Errorf("closed, there are %v", left)
	}
}

// Tables that were kept when the process ended in a compaction do not bring back what was
// deleted or changed.
//
// protocol 4
func TestKeptTablesBringNoOldVersionBack(t *testing.T) {
	t.Parallel()
	s, kept := open(t, Options{Dir: t.TempDir()}), newPromised()
	change := func(name, to string) {
		err := s.UpdateDocument(t.Context(), name, func([]byte) ([]byte, error) { return []byte(to), nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	again := func() {
		t.Helper()
		if err := s.closeWhole(); err != nil { // which compacts
			t.Fatal(err)
		}
		s = open(t, Options{Dir: s.dir})
	}
	if err := s.PutDocument(t.Context(), "session", []byte("alice"), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	change("document", "old")
	again()
	if err := s.PutDocument(t.Context(), "session", nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	kept.fill(t, s, 1) // so that the tombstone is in a table
	if _, err := keepTables(s.dir, currentTables(s.db.Load()), copyFile); err != nil {
		t.Fatal(err)
	}
	change("document", "new")
	again() // the tombstone is gone, and so is what it deletes
	if session, err := s.LoadDocument(t.Context(), "session"); session != nil || err != nil {
		t.Errorf("the session is %q, %v", session, err)
	}
	if document, err := s.LoadDocument(t.Context(), "document"); string(document) != "new" || err != nil {
		t.Errorf("the document is %q, %v", document, err)
	}
	kept.check(t, s)
	if left := append(numberedDirs(s.dir, lostPrefix), numberedDirs(s.dir, overPrefix)...); len(left) > 0 {
		t.Errorf("there are %v", left)
	}
}

// The undamaged blocks of a table that the MANIFEST lacks are recovered.
func TestUnlistedTableWithADamagedBlockIsRecoveredInPart(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("go test without -short runs it: nothing in it runs beside another")
	}
	for _, key := range []deviceauth.Secret{"", aKey} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, EncryptionKey: key})
		kept := newPromised()
		kept.fill(t, s, 1)
		if err := s.Close(); err != nil {
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
		s = open(t, Options{Dir: dir, EncryptionKey: key, Log: slog.New(slog.NewTextHandler(&log, nil))})
		found := 0
		for id := range kept.grants {
			if _, err := s.Get(t.Context(), id); err == nil {
				found++
			}
		}
		if found < len(kept.grants)/2 || found == len(kept.grants) {
			t.Errorf("%d of %d grants are left", found, len(kept.grants))
		}
		if !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "are damaged") {
			t.Errorf("the log says %s", log.String())
		}
	}
}
