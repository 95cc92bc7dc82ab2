package badgerstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// What a merge left out is in tables that were kept, and what Badger does not read is in what
// [Options.keepForRecovery] kept. The store is not asked meanwhile, as one that is broken, so
// that no caller hears of a record that it does not exist: the store is closed, what was left
// out is written back, and the store is opened again.
//
// A merge drops what tells that something was deleted. So there is none, not even at the
// close, before all that was kept has been compared with it, and is gone: whatever fails, or
// ends the process, meanwhile.

// onIncompleteCompaction is called by a merge that did not make all of its tables.
func (s *Store) onIncompleteCompaction() {
	s.log.log(slog.LevelError, "a compaction of tables in %s could not make all of its new ones: "+
		"the old ones are kept, and what is only in them is written back", []any{s.dir})
	s.markBroken(s.errIncomplete())
}

// errIncomplete is the error of every call until [Store.recoverKept] is done.
func (s *Store) errIncomplete() error {
	return fmt.Errorf("badger store: %s is not asked until what a compaction left out is written back", s.dir)
}

// recoverKept writes what was kept back to a directory that is not open, and drops what was
// kept. Where every merge was whole there is nothing to write, as after the end of the
// process in one. What was changed or deleted since stays as it is.
func (s *Store) recoverKept(o Options, key []byte) error {
	dirs := numberedDirs(s.dir, lostPrefix)
	if len(dirs) == 0 {
		return nil
	}
	err := catchPanics(func() error {
		db, err := badger.Open(withoutCompactions(o.badger(key, s.log)))
		if err != nil {
			return err
		}
		err = s.recoverFrom(db, dirs)
		if unclosed := catchPanics(db.Close); unclosed != nil { // some of it may still run
			return fmt.Errorf("%w: %w", errNotClosed, errors.Join(err, unclosed))
		}
		return errors.Join(err, s.removeNextWAL())
	})
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		err = errors.Join(err, removeKept(dir))
	}
	return err
}

// errNotClosed says that the directory must not be opened again by this process.
var errNotClosed = errors.New("the database that was being written back to does not close")

// removeNextWAL forgets the log that was made ahead, of a database that is closed.
func (s *Store) removeNextWAL() error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	return s.prealloc.removeUnused()
}

// withoutCompactions is how a database is opened that must not merge its tables, however many
// there are.
func withoutCompactions(b badger.Options) badger.Options {
	return b.WithNumCompactors(0).WithCompactL0OnClose(false).WithNumLevelZeroTablesStall(math.MaxInt32)
}

// recoverFrom writes what was kept in some directories and is missing.
func (s *Store) recoverFrom(db *badger.DB, dirs []string) error {
	keys, err := s.openKeyRegistry()
	if err != nil {
		return err
	}
	defer keys.Close()
	missing, err := s.missingEntries(db, keys, dirs)
	if err != nil {
		return err
	}
	// In transactions far below Badger's bound, so that a table of any size fits.
	for rest := missing; len(rest) > 0; {
		batch := rest[:batchLen(rest)]
		rest = rest[len(batch):]
		if err := s.writeBack(db, keys, batch); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		s.log.log(slog.LevelWarn, "%d keys that a compaction of tables in %s left out, that its MANIFEST "+
			"lacked, or that stood behind damage in a log, are written back", []any{len(missing), s.dir})
	}
	return catchPanics(db.Sync) // what was kept is the only copy until what was written has reached the disk
}

// tablesIn returns the tables in a directory. A table of no bytes is one that Badger has cut
// before it removed it, and says nothing any more.
func tablesIn(dir string) (paths []string, err error) {
	all, err := filesIn(dir, ".sst")
	for _, path := range all {
		if about, err := os.Stat(path); err != nil || about.Size() > 0 {
			paths = append(paths, path)
		}
	}
	return paths, err
}

// missingEntries reads what was kept in some directories, and returns the last version of each key
// that has none as new in the database. A table that cannot be read for good is told of and
// left out; an error of the system, such as too many open files, ends the search, to be
// tried again.
func (s *Store) missingEntries(db *badger.DB, keys *badger.KeyRegistry, dirs []string) ([]*rawEntry, error) {
	latest := map[string]*rawEntry{}
	err := catchPanics(func() error {
		return db.View(func(txn *badger.Txn) error {
			return s.forEachKeptEntry(keys, dirs, func(e *rawEntry) error {
				if known := latest[string(e.key)]; isKey(e.key) && (known == nil || known.version < e.version) &&
					latestVersion(txn, e.key) < e.version {
					latest[string(e.key)] = e
				}
				return nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return worthRecovering(db, slices.Collect(maps.Values(latest)))
}

// forEachKeptEntry calls found for all that was kept in some directories; an error of found ends it.
func (s *Store) forEachKeptEntry(keys *badger.KeyRegistry, dirs []string, fn func(*rawEntry) error) error {
	for _, dir := range dirs {
		tables, err1 := tablesIn(dir)
		logs, err2 := filesIn(dir, ".mem")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		for _, name := range tables {
			if err := s.forEachTableEntry(name, keys, fn); err != nil {
				return err
			}
		}
		for _, name := range logs {
			w, err := newWALReader(name, keys, s.encrypted)
			if err == nil {
				_, err = changesAfterDamage(w, fn)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// forEachTableEntry calls found for all that is in a table, and tells of what cannot be read.
func (s *Store) forEachTableEntry(name string, keys *badger.KeyRegistry, fn func(*rawEntry) error) error {
	dataKey, err := findTableKey(name, keys)
	damaged := 0
	if err == nil {
		damaged, err = readTable(name, dataKey, fn)
	}
	switch {
	case errors.Is(err, errNoKey): // no block of it is whole, and never will be
		s.log.log(slog.LevelError, "what was kept of the table %s cannot be read: %v", []any{filepath.Base(name), err})
		return nil
	case damaged > 0:
		s.log.log(slog.LevelError, "%d blocks of the table %s, which is not in the MANIFEST, are damaged: "+
			"what was only in them may be lost, such as a revocation or that a code is used; the rest is kept; "+
			"docs/troubleshooting.md says more", []any{damaged, filepath.Base(name)})
	}
	return err
}

// worthRecovering leaves out what has expired, and deletions of what is not there. The rest is in
// the order of the keys, in which Badger writes it fastest.
func worthRecovering(db *badger.DB, entries []*rawEntry) (left []*rawEntry, err error) {
	now := uint64(time.Now().Unix())
	err = catchPanics(func() error {
		return db.View(func(txn *badger.Txn) error {
			for _, e := range entries {
				expired := e.value.ExpiresAt != 0 && e.value.ExpiresAt <= now
				if !expired && (!e.deleted() || latestVersion(txn, e.key) > 0) {
					left = append(left, e)
				}
			}
			return nil
		})
	})
	slices.SortFunc(left, func(a, b *rawEntry) int { return bytes.Compare(a.key, b.key) })
	return left, err
}

// latestVersion is the last one of a key, be it a deletion; 0: there is none. Get would hide
// a deletion, and a key that was deleted since must not come back.
func latestVersion(txn *badger.Txn, key []byte) uint64 {
	it := txn.NewKeyIterator(key, badger.IteratorOptions{})
	defer it.Close()
	if it.Rewind(); it.Valid() {
		return it.Item().Version()
	}
	return 0
}

// recoveryBatch bounds the bytes of a transaction, far below Badger's own bound.
const recoveryBatch = 256 << 10

// batchLen returns how many of the first entries go into the next transaction: at least
// one, however large it is.
func batchLen(entries []*rawEntry) int {
	size := 0
	for i, e := range entries {
		if size += len(e.key) + len(e.value.Value); i > 0 && size > recoveryBatch {
			return i
		}
	}
	return len(entries)
}

// writeBack writes entries in one transaction, which Badger orders after all that was
// written before: each is again the last version of its key.
func (s *Store) writeBack(db *badger.DB, keys *badger.KeyRegistry, entries []*rawEntry) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	// The logs of the database that is open have taken their part of what a start wants.
	if err := cmp.Or(s.room.requireFree(startReserve/2), s.prealloc.ensure()); err != nil {
		return err
	}
	return catchPanics(func() error {
		return db.Update(func(txn *badger.Txn) error {
			for _, e := range entries {
				if err := e.write(txn, s.dir, keys); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// write puts the entry into a transaction as it was, with its expiry. A value that the
// table only points to is read from its log, because the log may go.
func (e *rawEntry) write(txn *badger.Txn, dir string, keys *badger.KeyRegistry) (err error) {
	if e.deleted() {
		return txn.Delete(e.key)
	}
	value := e.value.Value
	if e.value.Meta&metaPointer != 0 {
		if value, err = readValueLog(dir, value, keys); err != nil {
			return err
		}
	}
	return txn.SetEntry(&badger.Entry{Key: e.key, Value: value, UserMeta: e.value.UserMeta,
		ExpiresAt: e.value.ExpiresAt})
}
