package badgerstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

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
// logs with whole records behind one that is not.
func (o Options) setHiddenAside(list badger.Manifest, keys *badger.KeyRegistry, encrypted bool) error {
	tables, err := o.unlisted(list, keys)
	if err != nil {
		return err
	}
	logs, err := o.damagedLogs(keys, encrypted)
	if err != nil || len(tables)+len(logs) == 0 {
		return err
	}
	aside, err := os.MkdirTemp(o.Dir, "new-")
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
	_, err = renamed(aside, lostAs)
	return err
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

// unlisted returns the tables that are whole, not in the list, and were never taken out of
// it. The end of the process leaves such a one where a table was just made: then all that is
// in it is elsewhere, too.
func (o Options) unlisted(list badger.Manifest, keys *badger.KeyRegistry) (names []string, err error) {
	removed, err := o.removedTables()
	if err != nil {
		return nil, err
	}
	tables, err := tablesIn(o.Dir)
	if err != nil {
		return nil, err
	}
	for _, name := range tables {
		id, ok := table.ParseFileID(name)
		if _, listed := list.Tables[id]; !ok || listed || removed[id] {
			continue
		}
		if _, err := keyOf(name, keys); err == nil {
			names = append(names, name)
		} else if fromSystem(err) {
			return nil, err
		}
	}
	return names, nil
}

// removedTables returns the tables that the list says are removed. They may lie there
// still, and some of what is in them was deleted since. Badger begins the list anew after ten
// thousand of them; one that the end of the process leaves there just then is taken for lost,
// which brings back what was deleted and has not expired.
func (o Options) removedTables() (map[uint64]bool, error) {
	file, err := os.Open(filepath.Join(o.Dir, badger.ManifestFilename))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	removed := map[uint64]bool{}
	r := bufio.NewReader(file)
	if _, err := r.Discard(8); err != nil { // what kind of file it is, which Badger has checked
		return nil, err
	}
	for {
		var head [8]byte // the length of the changes, and their checksum, which Badger has checked
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return removed, notTheEnd(err)
		}
		text := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(r, text); err != nil {
			return removed, notTheEnd(err)
		}
		var changes pb.ManifestChangeSet
		if err := proto.Unmarshal(text, &changes); err != nil {
			return nil, err
		}
		for _, change := range changes.Changes {
			removed[change.Id] = change.Op == pb.ManifestChange_DELETE
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

// damagedLogs returns the logs of memtables that have whole records behind one that is not,
// and tells of them.
func (o Options) damagedLogs(keys *badger.KeyRegistry, encrypted bool) (names []string, err error) {
	logs, err := filesIn(o.Dir, ".mem")
	if err != nil {
		return nil, err
	}
	for _, name := range logs {
		l, err := newLogReader(name, keys, encrypted)
		if err != nil {
			return nil, err
		}
		behind := 0 // how many changes Badger would not read
		bad, err := changesBehindDamage(l, func(*relic) error { behind++; return nil })
		switch {
		case err != nil:
			return nil, fmt.Errorf("the log %s: %w", filepath.Base(name), err)
		case bad == 0:
			continue
		case behind == 0: // the usual end of a log whose writer ended
			newLogger(o.Log).log(slog.LevelWarn, "the log %s ends in a record that is not whole, at byte %d: "+
				"that is what was being written when the process or the system ended, or damage", []any{name, bad})
		default:
			// Where the power failed, pages may have reached the disk in another order than
			// they were written in. Nothing of that was promised, and nothing tells it from damage.
			newLogger(o.Log).log(slog.LevelError, "the log %s is damaged at byte %d: what was promised there is lost, "+
				"such as a revocation or that a code is used; the %d changes behind it are kept; "+
				"docs/troubleshooting.md says more", []any{name, bad, behind})
			names = append(names, name)
		}
	}
	return names, nil
}
