package badgerdb

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

// If the MANIFEST (Badger's list of tables) ends too soon, Badger opens the directory and
// removes the tables that the MANIFEST lacks. In the write-ahead log (WAL) of a memtable,
// it drops everything after the first damaged record. Both are right after a crash, but in
// a damaged file both lose what was promised, without an error. So
// what Badger would drop is kept before it opens the directory, and [DB.recoverKept]
// writes it back.

// keepForRecovery keeps tables that were never removed from the MANIFEST and are not in it,
// and WALs with changes after damage. If the directory's lock is Badger's own, the files
// may belong to another process, and nothing is kept.
func (o Options) keepForRecovery(list badger.Manifest, keys *badger.KeyRegistry) error {
	if !ownLock {
		return nil
	}
	tables, unreadable, err := o.unlistedTables(list, keys)
	if err != nil {
		return err
	}
	logs, err := o.damagedWALs(keys)
	if err != nil {
		return err
	}
	if err := o.reportUnreadable(unreadable, list, keys); err != nil {
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
	// Badger removes the tables, for which a hard link is enough, and truncates the WALs.
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

// notYetKept leaves out files that an earlier start, which failed, has kept.
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

// keepFiles keeps files in another directory, under the same names.
func keepFiles(files []string, dir string, keep func(from, to string) error) error {
	for _, file := range files {
		if err := keep(file, filepath.Join(dir, filepath.Base(file))); err != nil {
			return err
		}
	}
	return nil
}

// unlistedTables returns the tables that were never removed from the MANIFEST and are not
// in it: names can be read, at least in part; of unreadable no block can. A crash leaves
// either where a table was just being created, and then all of its entries exist elsewhere,
// too.
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

// reportUnreadable logs tables of which nothing can be read. It returns an error if they
// are all the data that there was: the MANIFEST lists no table, and no WAL has a record
// that such a table may have been made of.
func (o Options) reportUnreadable(tables []string, list badger.Manifest, keys *badger.KeyRegistry) error {
	for _, name := range tables {
		newLogger(o.Log).log(slog.LevelWarn, "the table %s is not in the MANIFEST, and cannot be read: it was "+
			"being made when the process or the system ended, or is damaged", name)
	}
	if len(tables) == 0 || len(list.Tables) > 0 {
		return nil
	}
	logs, err := filesIn(o.Dir, ".mem")
	for _, name := range logs {
		w, err := o.newWALReader(name, keys)
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

// A manifestHistory is what a MANIFEST says of tables that it does not list any more.
type manifestHistory struct {
	deleted   map[uint64]bool // recorded as deleted
	maxID     uint64          // the highest table id
	rewritten bool            // Badger has rewritten the file, which drops earlier deletions
}

// removed reports whether a table was removed from the MANIFEST. The file of such a table
// may still exist, and some of its keys may have been deleted since. A compaction creates
// tables with higher ids than those that it removes: so in a rewritten MANIFEST, all tables
// below the highest id count as removed.
func (h *manifestHistory) removed(id uint64) bool {
	return h.deleted[id] || h.rewritten && id < h.maxID
}

// manifestHistory reads the MANIFEST. A new one begins with an empty change set, a
// rewritten one with a set of all tables. Each change set is preceded by its length and its
// checksum, which Badger has verified.
func (o Options) manifestHistory() (*manifestHistory, error) {
	file, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	history := &manifestHistory{deleted: map[uint64]bool{}}
	r := bufio.NewReader(file)
	if _, err := r.Discard(8); err != nil { // magic number and version
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

// ignoreEOF returns nil for the end of a file, whose last record may be torn.
func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// damagedWALs returns the WALs that have changes after damage, and logs all that are
// damaged. After a power failure, pages may have reached the disk in another order than
// they were written in. Nothing in them was promised, but they cannot be told from damage.
func (o Options) damagedWALs(keys *badger.KeyRegistry) (names []string, err error) {
	logs, err := filesIn(o.Dir, ".mem")
	if err != nil {
		return nil, err
	}
	for _, name := range logs {
		w, err := o.newWALReader(name, keys)
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
				"power failed: what was promised there may be lost, such as %s; "+
				"changes behind it that are kept: %d; docs/troubleshooting.md says more",
				name, damage.offset, o.Losses, damage.changes)
		default:
			newLogger(o.Log).log(slog.LevelWarn, "the log %s ends in a record that is not whole, at byte %d: "+
				"that is what was being written when the process or the system ended, or damage", name, damage.offset)
		}
		if damage.changes > 0 {
			names = append(names, name)
		}
	}
	return names, nil
}
