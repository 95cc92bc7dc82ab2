package badgerdb

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

// What a compaction left out is in tables that were kept, and what Badger would not read is
// in files that [Options.keepForRecovery] kept. Until it is written back every call returns
// an error, so that no caller is told that a record does not exist. The database is closed,
// the missing entries are written back, and it is opened again.
//
// A compaction drops tombstones (the markers of deleted keys). So no compaction may run,
// not even at close, before everything that was kept has been compared with the tombstones
// and then removed. This must hold whatever fails, or ends the process, in between.

// onIncompleteCompaction is called when a compaction has not created all of its tables.
func (d *DB) onIncompleteCompaction() {
	d.log.log(slog.LevelError, "a compaction of tables in %s could not make all of its new ones: "+
		"the old ones are kept, and what is only in them is written back", d.o.Dir)
	d.markBroken(d.errIncomplete())
}

// errIncomplete returns the error of every call until [DB.recoverKept] is done.
func (d *DB) errIncomplete() error {
	return fmt.Errorf("badger store: %s is not asked until what a compaction left out is written back", d.o.Dir)
}

// recoverKept writes back what was kept to a directory whose database is closed, and
// removes what was kept. If every compaction was complete, as after a crash during one,
// there is nothing to write. Keys that were changed or deleted since keep their newer
// version.
func (d *DB) recoverKept() error {
	dirs := numberedDirs(d.o.Dir, lostPrefix)
	if len(dirs) == 0 {
		return nil
	}
	err := catchPanics(func() error {
		db, err := badger.Open(withoutCompactions(d.o.badger(d.log)))
		if err != nil {
			return err
		}
		err = d.recoverFrom(db, dirs)
		if unclosed := catchPanics(db.Close); unclosed != nil { // a part of it may still run
			return fmt.Errorf("%w: %w", errNotClosed, errors.Join(err, unclosed))
		}
		return errors.Join(err, d.removeNextWAL())
	})
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		err = errors.Join(err, removeKept(dir))
	}
	return err
}

// removeNextWAL removes the preallocated WAL of a database that is closed.
func (d *DB) removeNextWAL() error {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	return d.prealloc.removeUnused()
}

// withoutCompactions returns options for a database that must not compact its tables,
// however many there are.
func withoutCompactions(b badger.Options) badger.Options {
	return b.WithNumCompactors(0).WithCompactL0OnClose(false).WithNumLevelZeroTablesStall(math.MaxInt32)
}

// recoverFrom writes back those entries kept in dirs that the database lacks.
func (d *DB) recoverFrom(db *badger.DB, dirs []string) error {
	keys, err := d.o.openKeyRegistry()
	if err != nil {
		return err
	}
	defer keys.Close()
	missing, err := d.missingEntries(db, keys, dirs)
	if err != nil {
		return err
	}
	// Transactions stay far below Badger's limit, so that a table of any size can be
	// recovered.
	for rest := missing; len(rest) > 0; {
		batch := rest[:batchLen(rest)]
		rest = rest[len(batch):]
		if err := d.writeBack(db, keys, batch); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		d.log.log(slog.LevelWarn, "%d keys that a compaction of tables in %s left out, that its MANIFEST "+
			"lacked, or that stood behind damage in a log, are written back", len(missing), d.o.Dir)
	}
	return catchPanics(db.Sync) // what was kept is the only copy until this is on the disk
}

// tablesIn returns the tables in a directory, except empty files: Badger truncates a table
// before it removes it.
func tablesIn(dir string) (paths []string, err error) {
	all, err := filesIn(dir, ".sst")
	for _, path := range all {
		if info, err := os.Stat(path); err != nil || info.Size() > 0 {
			paths = append(paths, path)
		}
	}
	return paths, err
}

// missingEntries reads what was kept in dirs, and returns the newest version of each key of
// which the database has no version as new. A table that is damaged beyond reading is
// logged and skipped; an error of the system, such as too many open files, is returned, so
// that recovery is tried again.
func (d *DB) missingEntries(db *badger.DB, keys *badger.KeyRegistry, dirs []string) ([]*rawEntry, error) {
	latest := map[string]*rawEntry{}
	err := catchPanics(func() error {
		return db.View(func(txn *badger.Txn) error {
			return d.forEachKeptEntry(keys, dirs, func(e *rawEntry) error {
				if seen := latest[string(e.key)]; d.o.isKey(e.key) && (seen == nil || seen.version < e.version) &&
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

// forEachKeptEntry calls fn for each entry kept in dirs, and stops at an error of fn.
func (d *DB) forEachKeptEntry(keys *badger.KeyRegistry, dirs []string, fn func(*rawEntry) error) error {
	for _, dir := range dirs {
		tables, err1 := tablesIn(dir)
		logs, err2 := filesIn(dir, ".mem")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		for _, name := range tables {
			if err := d.forEachTableEntry(name, keys, fn); err != nil {
				return err
			}
		}
		for _, name := range logs {
			w, err := d.o.newWALReader(name, keys)
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

// forEachTableEntry calls fn for each entry of a table, and logs what cannot be read.
func (d *DB) forEachTableEntry(name string, keys *badger.KeyRegistry, fn func(*rawEntry) error) error {
	dataKey, err := findTableKey(name, keys)
	damaged := 0
	if err == nil {
		damaged, err = readTable(name, dataKey, fn)
	}
	switch {
	case errors.Is(err, errNoKey): // none of its blocks can be read, now or later
		d.log.log(slog.LevelError, "what was kept of the table %s cannot be read: %v", filepath.Base(name), err)
		return nil
	case damaged > 0:
		d.log.log(slog.LevelError, "%d blocks of the table %s, which is not in the MANIFEST, are damaged: "+
			"what was only in them may be lost, such as %s; the rest is kept; docs/troubleshooting.md says more",
			damaged, filepath.Base(name), d.o.Losses)
	}
	return err
}

// worthRecovering leaves out expired entries, and tombstones of keys that the database does
// not have. It sorts the rest by key, the order in which Badger writes fastest.
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

// latestVersion returns the newest version of a key, which may be a tombstone; 0: there is
// none. Txn.Get would hide a tombstone, and a key that was deleted since must not come
// back.
func latestVersion(txn *badger.Txn, key []byte) uint64 {
	it := txn.NewKeyIterator(key, badger.IteratorOptions{})
	defer it.Close()
	if it.Rewind(); it.Valid() {
		return it.Item().Version()
	}
	return 0
}

// recoveryBatch bounds the bytes of a transaction, far below Badger's limit.
const recoveryBatch = 256 << 10

// batchLen returns how many of the first entries fit into one transaction: at least one,
// however large it is.
func batchLen(entries []*rawEntry) int {
	size := 0
	for i, e := range entries {
		if size += len(e.key) + len(e.value.Value); i > 0 && size > recoveryBatch {
			return i
		}
	}
	return len(entries)
}

// writeBack writes entries in one transaction. Its version is above all existing ones, so
// each entry becomes the newest version of its key again.
func (d *DB) writeBack(db *badger.DB, keys *badger.KeyRegistry, entries []*rawEntry) error {
	d.writeMu.Lock()
	defer d.writeMu.Unlock()
	// The WALs of the open database have used their part of startReserve.
	if err := cmp.Or(d.room.requireFree(startReserve/2), d.prealloc.ensure()); err != nil {
		return err
	}
	return catchPanics(func() error {
		return db.Update(func(txn *badger.Txn) error {
			for _, e := range entries {
				if err := e.write(txn, d.o.Dir, keys); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// write adds the entry to a transaction, with its expiry. It reads a value from the value
// log if the entry only points to it, because the value log file may be removed.
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
