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
// Badger opens the directory, and [Store.recoverKept] writes back what was.

// keepForRecovery keeps tables that are not in the list and were never taken out of it, and
// logs with changes behind damage. Where Badger takes the lock, the directory may be another
// process's, and nothing is kept.
func (o Options) keepForRecovery(list badger.Manifest, keys *badger.KeyRegistry, encrypted bool) error {
	if !ownLock {
		return nil
	}
	tables, unreadable, err := o.unlistedTables(list, keys)
	if err != nil {
		return err
	}
	logs, err := o.damagedWALs(keys, encrypted)
	if err != nil {
		return err
	}
	if err := o.reportUnreadable(unreadable, list, keys, encrypted); err != nil {
		return err
	}
	tables, logs = o.notYetKept(tables), o.notYetKept(logs)
	if len(tables)+len(logs) == 0 {
		return nil
	}
	kept, err := os.MkdirTemp(o.Dir, newPrefix)
	if err != nil {
		return err
	}
	// Badger removes the tables, for which a second name is enough, and cuts the logs.
	keepTable := copyFile
	if canLink(o.Dir) {
		keepTable = os.Link
	}
	if err := errors.Join(keepFiles(tables, kept, keepTable), keepFiles(logs, kept, copyFile)); err != nil {
		os.RemoveAll(kept)
		return err
	}
	_, err = renameDir(kept, lostPrefix)
	return err
}

// notYetKept leaves out the files that were kept at a start before, which failed.
func (o Options) notYetKept(files []string) (left []string) {
	for _, file := range files {
		kept := slices.ContainsFunc(numberedDirs(o.Dir, lostPrefix), func(dir string) bool {
			now, err1 := os.Stat(file)
			before, err2 := os.Stat(filepath.Join(dir, filepath.Base(file)))
			return err1 == nil && err2 == nil && now.Size() == before.Size()
		})
		if !kept {
			left = append(left, file)
		}
	}
	return left
}

// keepFiles keeps files under their own names in another directory.
func keepFiles(files []string, dir string, keep func(from, to string) error) error {
	for _, file := range files {
		if err := keep(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			return err
		}
	}
	return nil
}

// unlistedTables returns the tables that are not in the list, and were never taken out of it: those
// that can be read, at least in part, and those of which nothing can. The end of the process
// leaves either where a table was just made: then all that is in it is elsewhere, too.
func (o Options) unlistedTables(list badger.Manifest, keys *badger.KeyRegistry) (
	names, unreadable []string, err error,
) {
	history, err := o.manifestHistory()
	if err != nil {
		return nil, nil, err
	}
	tables, err := tablesIn(o.Dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range tables {
		id, ok := table.ParseFileID(name)
		if _, listed := list.Tables[id]; !ok || listed || history.removed(id) {
			continue
		}
		switch _, err := findTableKey(name, keys); {
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

// reportUnreadable tells of tables of which nothing can be read. Where the list names no table,
// and no log has what was to become one, they are all that there was.
func (o Options) reportUnreadable(
	tables []string, list badger.Manifest, keys *badger.KeyRegistry, encrypted bool,
) error {
	for _, name := range tables {
		newLogger(o.Log).log(slog.LevelWarn, "the table %s is not in the MANIFEST, and cannot be read: it was "+
			"being made when the process or the system ended, or is damaged", []any{name})
	}
	if len(tables) == 0 || len(list.Tables) > 0 {
		return nil
	}
	logs, err := filesIn(o.Dir, ".mem")
	for _, name := range logs {
		w, err := newWALReader(name, keys, encrypted)
		if err != nil {
			return err
		}
		if w.hasMore() {
			return nil
		}
	}
	return cmp.Or(err, fmt.Errorf("%s names no table, and %s cannot be read", badger.ManifestFilename,
		filepath.Base(tables[0])))
}

// manifestHistory is what a list says of tables that may not be in it any more.
type manifestHistory struct {
	deleted   map[uint64]bool // that it says are removed
	maxID     uint64          // the highest number in it
	rewritten bool            // Badger has begun it anew, without those that were removed before
}

// removed reports whether a table was taken out of the list. It may lie there still, and some
// of what is in it was deleted since. A merge makes tables of higher numbers than those that
// it removes: so where the list was begun anew, all below the newest count as removed.
func (h *manifestHistory) removed(id uint64) bool {
	return h.deleted[id] || h.rewritten && id < h.maxID
}

// manifestHistory reads the list. Badger begins it with no change, and anew with all tables that
// there are; each set of changes has its length and its checksum before it, which Badger has
// checked.
func (o Options) manifestHistory() (*manifestHistory, error) {
	file, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	history := &manifestHistory{deleted: map[uint64]bool{}}
	r := bufio.NewReader(file)
	if _, err := r.Discard(8); err != nil { // what kind of file it is
		return nil, err
	}
	for first := true; ; first = false {
		var head [8]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return history, ignoreEOF(err)
		}
		text := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, text); err != nil {
			return history, ignoreEOF(err)
		}
		var changes pb.ManifestChangeSet
		if err := proto.Unmarshal(text, &changes); err != nil {
			return nil, err
		}
		history.rewritten = history.rewritten || first && len(changes.Changes) > 0
		for _, change := range changes.Changes {
			history.deleted[change.Id] = change.Op == pb.ManifestChange_DELETE
			history.maxID = max(history.maxID, change.Id)
		}
	}
}

// ignoreEOF leaves out the ends of a file, of which the last record may be torn.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// damagedWALs returns the logs of memtables that have changes behind damage, and tells of
// all that are damaged. Where the power failed, pages may have reached the disk in another
// order than they were written in. Nothing of that was promised, and nothing tells it from
// damage.
func (o Options) damagedWALs(keys *badger.KeyRegistry, encrypted bool) (names []string, err error) {
	logs, err := filesIn(o.Dir, ".mem")
	if err != nil {
		return nil, err
	}
	for _, name := range logs {
		w, err := newWALReader(name, keys, encrypted)
		var damage walDamage
		if err == nil {
			damage, err = changesAfterDamage(w, func(*rawEntry) error { return nil })
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("the log %s: %w", filepath.Base(name), err)
		case damage.offset == 0:
			continue
		case damage.followed || w.noHeader:
			newLogger(o.Log).log(slog.LevelError, "the log %s is not whole at byte %d, by damage or because the "+
				"power failed: what was promised there may be lost, such as a revocation or that a code is used; "+
				"changes behind it that are kept: %d; docs/troubleshooting.md says more",
				[]any{name, damage.offset, damage.changes})
		default:
			newLogger(o.Log).log(slog.LevelWarn, "the log %s ends in a record that is not whole, at byte %d: "+
				"that is what was being written when the process or the system ended, or damage",
				[]any{name, damage.offset})
		}
		if damage.changes > 0 {
			names = append(names, name)
		}
	}
	return names, nil
}
