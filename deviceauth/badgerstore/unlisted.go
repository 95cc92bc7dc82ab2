package badgerstore

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"google.golang.org/protobuf/proto"
)

// Badger opens a directory whose list of tables ends too soon, and removes the tables that
// are not in it; and of a log it drops all that stands behind the first record that is not
// whole. Both are right after the end of the process, and both hide what was promised, such
// as a revocation, where the file is damaged. So what may be hidden is set aside before
// Badger opens the directory, and [Store.bringBack] writes back what was.

// setHiddenAside keeps tables that are not in the list and were never taken out of it, and
// logs with changes behind damage. Where Badger takes the lock, the directory may be another
// process's, and nothing is kept.
func (o Options) setHiddenAside(list badger.Manifest, keys *badger.KeyRegistry, encrypted bool) error {
	if !ownLock {
		return nil
	}
	tables, unreadable, err := o.unlisted(list, keys)
	if err != nil {
		return err
	}
	logs, err := o.damagedLogs(keys, encrypted)
	if err != nil {
		return err
	}
	if err := o.tellUnreadable(unreadable, list, keys, encrypted); err != nil {
		return err
	}
	tables, logs = o.notKept(tables), o.notKept(logs)
	if len(tables)+len(logs) == 0 {
		return nil
	}
	aside, err := os.MkdirTemp(o.Dir, newPrefix)
	if err != nil {
		return err
	}
	// Badger removes the tables, for which a second name is enough, and cuts the logs.
	keepTable := copied
	if canLink(o.Dir) {
		keepTable = os.Link
	}
	if err := errors.Join(keepAll(tables, aside, keepTable), keepAll(logs, aside, copied)); err != nil {
		os.RemoveAll(aside)
		return err
	}
	_, err = renamed(aside, lostPrefix)
	return err
}

// notKept leaves out the files that were kept at a start before, which failed.
func (o Options) notKept(files []string) (left []string) {
	for _, file := range files {
		kept := slices.ContainsFunc(named(o.Dir, lostPrefix), func(dir string) bool {
			is, err1 := os.Stat(file)
			was, err2 := os.Stat(filepath.Join(dir, filepath.Base(file)))
			return err1 == nil && err2 == nil && is.Size() == was.Size()
		})
		if !kept {
			left = append(left, file)
		}
	}
	return left
}

// keepAll keeps files under their own names in another directory.
func keepAll(files []string, dir string, keep func(from, to string) error) error {
	for _, file := range files {
		if err := keep(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			return err
		}
	}
	return nil
}

// unlisted returns the tables that are not in the list, and were never taken out of it: those
// that can be read, at least in part, and those of which nothing can. The end of the process
// leaves either where a table was just made: then all that is in it is elsewhere, too.
func (o Options) unlisted(list badger.Manifest, keys *badger.KeyRegistry) (names, unreadable []string, err error) {
	known, err := o.knownTables()
	if err != nil {
		return nil, nil, err
	}
	tables, err := tablesIn(o.Dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range tables {
		id, ok := table.ParseFileID(name)
		if _, listed := list.Tables[id]; !ok || listed || known.removed(id) {
			continue
		}
		switch _, err := keyOf(name, keys); {
		case err == nil:
			names = append(names, name)
		case errors.Is(err, errNoKey):
			unreadable = append(unreadable, name)
		default:
			return nil, nil, err
		}
	}
	return names, unreadable, nil
}

// tellUnreadable tells of tables of which nothing can be read. Where the list names no table,
// and no log has what was to become one, they are all that there was.
func (o Options) tellUnreadable(tables []string, list badger.Manifest, keys *badger.KeyRegistry, encrypted bool) error {
	for _, name := range tables {
		newLogger(o.Log).log(slog.LevelWarn, "the table %s is not in the list of tables, and cannot be read: it was "+
			"being made when the process or the system ended, or is damaged", []any{name})
	}
	if len(tables) == 0 || len(list.Tables) > 0 {
		return nil
	}
	logs, err := filesIn(o.Dir, ".mem")
	for _, name := range logs {
		l, err := newLogReader(name, keys, encrypted)
		if err != nil {
			return err
		}
		if l.hasMore() {
			return nil
		}
	}
	return cmp.Or(err, fmt.Errorf("%s names no table, and %s cannot be read", badger.ManifestFilename,
		filepath.Base(tables[0])))
}

// knownTables is what a list says of tables that may not be in it any more.
type knownTables struct {
	gone   map[uint64]bool // that it says are removed
	newest uint64          // the highest number in it
	anew   bool            // Badger has begun it anew, without those that were removed before
}

// removed reports whether a table was taken out of the list. It may lie there still, and some
// of what is in it was deleted since. A merge makes tables of higher numbers than those that
// it removes: so where the list was begun anew, all below the newest count as removed.
func (k *knownTables) removed(id uint64) bool { return k.gone[id] || k.anew && id < k.newest }

// knownTables reads the list. Badger begins it with no change, and anew with all tables that
// there are; each set of changes has its length and its checksum before it, which Badger has
// checked.
func (o Options) knownTables() (*knownTables, error) {
	file, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	known := &knownTables{gone: map[uint64]bool{}}
	r := bufio.NewReader(file)
	if _, err := r.Discard(8); err != nil { // what kind of file it is
		return nil, err
	}
	for first := true; ; first = false {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return known, notTheEnd(err)
		}
		text := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, text); err != nil {
			return known, notTheEnd(err)
		}
		var changes pb.ManifestChangeSet
		if err := proto.Unmarshal(text, &changes); err != nil {
			return nil, err
		}
		known.anew = known.anew || first && len(changes.Changes) > 0
		for _, change := range changes.Changes {
			known.gone[change.Id] = change.Op == pb.ManifestChange_DELETE
			known.newest = max(known.newest, change.Id)
		}
	}
}

// notTheEnd leaves out the ends of a file, of which the last record may be torn.
func notTheEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// damagedLogs returns the logs of memtables that have changes behind damage, and tells of
// all that are damaged. Where the power failed, pages may have reached the disk in another
// order than they were written in. Nothing of that was promised, and nothing tells it from
// damage.
func (o Options) damagedLogs(keys *badger.KeyRegistry, encrypted bool) (names []string, err error) {
	logs, err := filesIn(o.Dir, ".mem")
	if err != nil {
		return nil, err
	}
	for _, name := range logs {
		l, err := newLogReader(name, keys, encrypted)
		var h hidden
		if err == nil {
			h, err = changesBehindDamage(l, func(*relic) error { return nil })
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("the log %s: %w", filepath.Base(name), err)
		case h.damage == 0:
			continue
		case h.behind || l.headless:
			newLogger(o.Log).log(slog.LevelError, "the log %s is not whole at byte %d, by damage or because the "+
				"power failed: what was promised there may be lost, such as a revocation or that a code is used; "+
				"changes behind it that are kept: %d; docs/troubleshooting.md says more",
				[]any{name, h.damage, h.changes})
		default:
			newLogger(o.Log).log(slog.LevelWarn, "the log %s ends in a record that is not whole, at byte %d: "+
				"that is what was being written when the process or the system ended, or damage", []any{name, h.damage})
		}
		if h.changes > 0 {
			names = append(names, name)
		}
	}
	return names, nil
}
