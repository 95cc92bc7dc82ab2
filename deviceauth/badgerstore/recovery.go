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
// [Options.setHiddenAside] kept. The store is not asked meanwhile, as one that is broken, so
// that no caller hears of a record that it does not exist: the store is closed, what was left
// out is written back, and the store is opened again.
//
// A merge drops what tells that something was deleted. So there is none, not even at the
// close, before all that was kept has been compared with it, and is gone: whatever fails, or
// ends the process, meanwhile.

// mergeLeftOut is called by a merge that did not make all of its tables.
func (s *Store) mergeLeftOut() {
	s.log.log(slog.LevelError, "a merge of tables in %s could not make all of its new ones: "+
		"the old ones are kept, and what is only in them is written back", []any{s.dir})
	s.breaks(s.errIncomplete())
}

// errIncomplete is the error of every call until [Store.bringBack] is done.
func (s *Store) errIncomplete() error {
	return fmt.Errorf("badger store: %s is not asked until what a merge of its tables left out is written back", s.dir)
}

// bringBack writes what was kept back to a directory that is not open, and drops what was
// kept. Where every merge was whole there is nothing to write, as after the end of the
// process in one. What was changed or deleted since stays as it is.
func (s *Store) bringBack(o Options, key []byte) error {
	dirs := named(s.dir, lostPrefix)
	if len(dirs) == 0 {
		return nil
	}
	err := guarded(func() error {
		db, err := badger.Open(withoutMerges(o.badger(key, s.log)))
		if err != nil {
			return err
		}
		err = s.writeAllBack(db, dirs)
		if unclosed := guarded(db.Close); unclosed != nil { // some of it may still run
			return fmt.Errorf("%w: %w", errUnclosed, errors.Join(err, unclosed))
		}
		return errors.Join(err, s.dropAhead())
	})
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		err = errors.Join(err, dropTables(dir))
	}
	return err
}

// errUnclosed says that the directory must not be opened again by this process.
var errUnclosed = errors.New("the database that was being written back to does not close")

// dropAhead forgets the log that was made ahead, of a database that is closed.
func (s *Store) dropAhead() error {
	s.single.Lock()
	defer s.single.Unlock()
	return s.ahead.drop()
}

// withoutMerges is how a database is opened that must not merge its tables, however many
// there are.
func withoutMerges(b badger.Options) badger.Options {
	return b.WithNumCompactors(0).WithCompactL0OnClose(false).WithNumLevelZeroTablesStall(math.MaxInt32)
}

// writeAllBack writes what was kept in some directories and is missing.
func (s *Store) writeAllBack(db *badger.DB, dirs []string) error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	defer keys.Close()
	gone, err := s.missing(db, keys, dirs)
	if err != nil {
		return err
	}
	// In transactions far below Badger's bound, so that a table of any size fits.
	for rest := gone; len(rest) > 0; {
		some := rest[:batchOf(rest)]
		rest = rest[len(some):]
		if err := s.writeBack(db, keys, some); err != nil {
			return err
		}
	}
	if len(gone) > 0 {
		s.log.log(slog.LevelWarn, "%d keys that a merge of tables in %s left out, that its list of tables "+
			"lacked, or that stood behind damage in a log, are written back", []any{len(gone), s.dir})
	}
	return guarded(db.Sync) // what was kept is the only copy until what was written has reached the disk
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

// missing reads what was kept in some directories, and returns the last version of each key
// that has none as new in the database. A table that cannot be read for good is told of and
// left out; an error of the system, such as too many open files, ends the search, to be
// tried again.
func (s *Store) missing(db *badger.DB, keys *badger.KeyRegistry, dirs []string) ([]*relic, error) {
	newest := map[string]*relic{}
	err := guarded(func() error {
		return db.View(func(txn *badger.Txn) error {
			return s.everyRelic(keys, dirs, func(r *relic) error {
				if is := newest[string(r.key)]; isKey(r.key) && (is == nil || is.version < r.version) &&
					version(txn, r.key) < r.version {
					newest[string(r.key)] = r
				}
				return nil
			})
		})
	})
	if err != nil {
		return nil, err
	}
	return wanted(db, slices.Collect(maps.Values(newest)))
}

// everyRelic calls found for all that was kept in some directories; an error of found ends it.
func (s *Store) everyRelic(keys *badger.KeyRegistry, dirs []string, found func(*relic) error) error {
	for _, dir := range dirs {
		tables, err1 := tablesIn(dir)
		logs, err2 := filesIn(dir, ".mem")
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		for _, name := range tables {
			if err := s.relicsOfTable(name, keys, found); err != nil {
				return err
			}
		}
		for _, name := range logs {
			l, err := newLogReader(name, keys, s.encrypted)
			if err == nil {
				_, err = changesBehindDamage(l, found)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// relicsOfTable calls found for all that is in a table, and tells of what cannot be read.
func (s *Store) relicsOfTable(name string, keys *badger.KeyRegistry, found func(*relic) error) error {
	own, err := keyOf(name, keys)
	damaged := 0
	if err == nil {
		damaged, err = relics(name, own, found)
	}
	switch {
	case errors.Is(err, errNoKey): // no block of it is whole, and never will be
		s.log.log(slog.LevelError, "what was kept of the table %s cannot be read: %v", []any{filepath.Base(name), err})
		return nil
	case damaged > 0:
		s.log.log(slog.LevelError, "%d blocks of the table %s, which is not in the list of tables, are damaged: "+
			"what was only in them may be lost, such as a revocation or that a code is used; the rest is kept; "+
			"docs/troubleshooting.md says more", []any{damaged, filepath.Base(name)})
	}
	return err
}

// wanted leaves out what has expired, and deletions of what is not there. The rest is in
// the order of the keys, in which Badger writes it fastest.
func wanted(db *badger.DB, list []*relic) (left []*relic, err error) {
	now := uint64(time.Now().Unix())
	err = guarded(func() error {
		return db.View(func(txn *badger.Txn) error {
			for _, r := range list {
				expired := r.value.ExpiresAt != 0 && r.value.ExpiresAt <= now
				if !expired && (!r.deleted() || version(txn, r.key) > 0) {
					left = append(left, r)
				}
			}
			return nil
		})
	})
	slices.SortFunc(left, func(a, b *relic) int { return bytes.Compare(a.key, b.key) })
	return left, err
}

// version is the last one of a key, be it a deletion; 0: there is none. Get would hide
// a deletion, and a key that was deleted since must not come back.
func version(txn *badger.Txn, key []byte) uint64 {
	it := txn.NewKeyIterator(key, badger.IteratorOptions{})
	defer it.Close()
	if it.Rewind(); it.Valid() {
		return it.Item().Version()
	}
	return 0
}

// relicBatch bounds the bytes of a transaction, far below Badger's own bound.
const relicBatch = 256 << 10

// batchOf returns how many of the first entries go into the next transaction: at least
// one, however large it is.
func batchOf(list []*relic) int {
	size := 0
	for i, r := range list {
		if size += len(r.key) + len(r.value.Value); i > 0 && size > relicBatch {
			return i
		}
	}
	return len(list)
}

// writeBack writes entries in one transaction, which Badger orders after all that was
// written before: each is again the last version of its key.
func (s *Store) writeBack(db *badger.DB, keys *badger.KeyRegistry, list []*relic) error {
	s.single.Lock()
	defer s.single.Unlock()
	// The logs of the database that is open have taken their part of what a start wants.
	if err := cmp.Or(s.room.fits(startReserve/2), s.ahead.ready()); err != nil {
		return err
	}
	return guarded(func() error {
		return db.Update(func(txn *badger.Txn) error {
			for _, r := range list {
				if err := r.write(txn, s.dir, keys); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// write puts the entry into a transaction as it was, with its expiry. A value that the
// table only points to is read from its log, because the log may go.
func (r *relic) write(txn *badger.Txn, dir string, keys *badger.KeyRegistry) (err error) {
	if r.deleted() {
		return txn.Delete(r.key)
	}
	value := r.value.Value
	if r.value.Meta&metaPointer != 0 {
		if value, err = pointed(dir, value, keys); err != nil {
			return err
		}
	}
	return txn.SetEntry(&badger.Entry{Key: r.key, Value: value, UserMeta: r.value.UserMeta,
		ExpiresAt: r.value.ExpiresAt})
}
