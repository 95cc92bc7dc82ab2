package badgerdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// documents is the number of documents that each of these tests writes, each of them twice.
const documents = 12

// setDocuments gives each document a text.
func setDocuments(t *testing.T, d *DB, text string) {
	t.Helper()
	for i := range documents {
		if err := put(d, fmt.Sprint("document ", i), fmt.Appendf(nil, "%s %d", text, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// missingDocuments returns the documents that do not have their text any more.
func missingDocuments(t *testing.T, d *DB, text string) (list []string) {
	t.Helper()
	for i := range documents {
		got, err := get(d, fmt.Sprint("document ", i))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s %d", text, i); string(got) != want {
			list = append(list, fmt.Sprintf("%q, want %q", got, want))
		}
	}
	return list
}

// manifestOffsets returns the offsets of the records of a MANIFEST, and of its end.
func manifestOffsets(t *testing.T, manifest []byte) (begins []int) {
	t.Helper()
	at := 8
	for ; at < len(manifest); at += 8 + int(binary.BigEndian.Uint32(manifest[at:])) {
		begins = append(begins, at)
	}
	return append(begins, at)
}

// A MANIFEST that ends too soon, between two records or within one, loses nothing: the
// tables that it lacks are recovered, or the directory is refused.
func TestTablesMissingFromTheManifestAreRecovered(t *testing.T) {
	t.Parallel()
	for _, key := range [][]byte{nil, aKey} {
		dir := filepath.Join(t.TempDir(), "[store]") // must not be taken for a glob pattern
		for _, text := range []string{"old", "new"} {
			d := open(t, optionsFor(dir, key, nil))
			setDocuments(t, d, text)
			if err := d.Close(0, nil); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
		if err != nil {
			t.Fatal(err)
		}
		begins := manifestOffsets(t, whole)
		if len(begins) < 3 {
			t.Fatalf("the list of tables has %d records: want two at least", len(begins)-1)
		}
		recovered := 0
		for _, begin := range begins {
			for _, size := range []int{begin, begin + 5, begin + 12} {
				if size <= len(whole) && opensWithShortManifest(t, dir, key, int64(size)) {
					recovered++
				}
			}
		}
		if recovered < 4 {
			t.Errorf("%d of the lists that ended too soon were made up for: want most", recovered)
		}
	}
}

// opensWithShortManifest opens a copy of a store whose MANIFEST ends too soon, and reports
// whether it opens.
func opensWithShortManifest(t *testing.T, dir string, key []byte, size int64) bool {
	t.Helper()
	dir = copyDir(t, dir)
	if err := os.Truncate(filepath.Join(dir, badger.ManifestFilename), size); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and again, with what was written back
		d, err := Open(optionsFor(dir, key, nil))
		if err != nil {
			if !isDamage(err) {
				t.Errorf("%d bytes: %v", size, err)
			}
			return false // it lists a table that is gone
		}
		if lost := missingDocuments(t, d, "new"); len(lost) > 0 {
			t.Errorf("%d bytes: %q", size, lost)
		}
		if err := d.Close(0, nil); err != nil {
			t.Fatal(err)
		}
	}
	if left := numberedDirs(dir, lostPrefix); len(left) > 0 {
		t.Errorf("%d bytes: %q is left", size, left)
	}
	return true
}

// What was deleted does not come back from a table that a compaction has removed from the
// MANIFEST and whose file still exists.
func TestRemovedTablesAreNotRecovered(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	d := open(t, optionsFor(dir, nil, nil))
	setDocuments(t, d, "old")
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	tables := tablesInDir(t, dir)
	before, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	d = open(t, optionsFor(dir, nil, nil))
	if err := d.db.Load().DropAll(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tables[0], before, 0o600); err != nil {
		t.Fatal(err)
	}
	if lost := missingDocuments(t, open(t, optionsFor(dir, nil, nil)), "old"); len(lost) != documents {
		t.Errorf("%d of %d documents are back", documents-len(lost), documents)
	}
}

// A rewritten MANIFEST does not record tables that were removed before.
func TestTablesRemovedBeforeTheManifestWasRewrittenAreNotRecovered(t *testing.T) {
	t.Parallel()
	dir, tables := deletedDocuments(t, true)
	if err := os.Rename(tables, filepath.Join(dir, "000001.sst")); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, badger.ManifestFilename)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	known, _, err := badger.ReplayManifestFile(list, 0, badger.DefaultOptions(dir))
	if err != nil {
		t.Fatal(err)
	}
	var changes pb.ManifestChangeSet
	for id, info := range known.Tables {
		changes.Changes = append(changes.Changes, &pb.ManifestChange{Id: id, Op: pb.ManifestChange_CREATE,
			Level: uint32(info.Level), KeyId: info.KeyID, Compression: uint32(info.Compression)})
	}
	text, err := proto.Marshal(&changes)
	if err != nil {
		t.Fatal(err)
	}
	data = binary.BigEndian.AppendUint32(data[:8], uint32(len(text)))
	data = binary.BigEndian.AppendUint32(data, crc32.Checksum(text, y.CastagnoliCrcTable))
	if err := os.WriteFile(name, append(data, text...), 0o600); err != nil {
		t.Fatal(err)
	}
	if lost := missingDocuments(t, open(t, optionsFor(dir, nil, nil)), "old"); len(lost) != documents {
		t.Errorf("%d of %d documents are back", documents-len(lost), documents)
	}
}

// deletedDocuments makes a store whose documents were deleted, and returns a table from
// before that. closed says whether the store was closed; if not, the tombstones are in a
// WAL.
func deletedDocuments(t *testing.T, closed bool) (dir, before string) {
	t.Helper()
	dir, before = t.TempDir(), filepath.Join(t.TempDir(), "before.sst")
	d := open(t, optionsFor(dir, nil, nil))
	setDocuments(t, d, "old")
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	tables := tablesInDir(t, dir)
	if err := copyFile(tables[0], before); err != nil {
		t.Fatal(err)
	}
	d = open(t, optionsFor(dir, nil, nil))
	for i := range documents {
		if err := put(d, fmt.Sprint("document ", i), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(d, "x", []byte("x")); err != nil { // without it nothing is left, and no table
		t.Fatal(err)
	}
	if !closed {
		dir = copyDir(t, dir)
	}
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	return dir, before
}

// A start that fails during recovery must not compact, not even when it closes the
// database: a compaction drops tombstones.
func TestFailedStartsBringNoDeletedKeyBack(t *testing.T) {
	t.Parallel()
	dir, before := deletedDocuments(t, false)
	kept := filepath.Join(dir, lostPrefix+"1")
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(before, filepath.Join(kept, "000001.sst")); err != nil {
		t.Fatal(err)
	}
	unreadable := filepath.Join(kept, "00001.mem")
	if err := os.Symlink(unreadable, unreadable); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if d, err := Open(optionsFor(dir, nil, nil)); err == nil {
			d.Close(0, nil)
			t.Fatal("it opens")
		}
	}
	if err := os.Remove(unreadable); err != nil {
		t.Fatal(err)
	}
	if lost := missingDocuments(t, open(t, optionsFor(dir, nil, nil)), "old"); len(lost) != documents {
		t.Errorf("%d of %d documents are back", documents-len(lost), documents)
	}
	if left := numberedDirs(dir, lostPrefix); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
}

// Tables of which nothing can be read are logged; if there is no other data, the directory
// is refused.
func TestUnlistedTablesThatCannotBeReadAreReported(t *testing.T) {
	t.Parallel()
	dir, _ := deletedDocuments(t, true)
	if err := os.WriteFile(filepath.Join(dir, "000099.sst"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	d := open(t, optionsFor(dir, nil, &log))
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "000099.sst") {
		t.Errorf("the log says %s", log.String())
	}
	truncateManifest(t, dir)
	tables := tablesInDir(t, dir)
	for _, name := range tables {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		flipBit(t, name, info.Size()-20) // in the index, or its checksum
	}
	d, err := Open(optionsFor(dir, nil, nil))
	if err == nil {
		d.Close(0, nil)
	}
	if !isDamage(err) {
		t.Errorf("it opens: %v", err)
	}
}

// tablesInDir returns the tables in a directory, of which there must be some.
func tablesInDir(t *testing.T, dir string) []string {
	t.Helper()
	tables, err := tablesIn(dir)
	if err != nil || len(tables) == 0 {
		t.Fatalf("%q, %v", tables, err)
	}
	return tables
}

// truncateManifest truncates the MANIFEST of a closed store to its first record.
func truncateManifest(t *testing.T, dir string) {
	t.Helper()
	name := filepath.Join(dir, badger.ManifestFilename)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, int64(manifestOffsets(t, whole)[1])); err != nil {
		t.Fatal(err)
	}
}

// flipBit changes a bit of a file.
func flipBit(t *testing.T, name string, at int64) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A directory that cannot be synced is not renamed, and is tried again under another name.
func TestKeptTablesThatHaveGoneAreNoError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept, err := renameDir(filepath.Join(dir, "none"), keptPrefix)
	if err == nil || kept != filepath.Join(dir, "none") {
		t.Errorf("%q, %v", kept, err)
	}
	if err := removeKept(filepath.Join(dir, "none")); err != nil {
		t.Errorf("what has gone: %v", err)
	}
}

// Failed starts keep each table and WAL once.
func TestFailedStartsKeepEachFileOnce(t *testing.T) {
	t.Parallel()
	dir, tables := closedWithTable(t, nil)
	if err := copyFile(tables[0], filepath.Join(dir, "000077.sst")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x.mem"), make([]byte, 30), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if d, err := Open(optionsFor(dir, nil, nil)); err == nil {
			d.Close(0, nil)
			t.Fatal("it opens")
		}
	}
	if kept := numberedDirs(dir, lostPrefix); len(kept) != 1 {
		t.Errorf("%q", kept)
	}
}

// copyDir copies the files of a directory. The zeros at the end of Badger's logs, which are
// megabytes, take no blocks in the copy.
func copyDir(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(dir, file.Name()))
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(to, file.Name())
		err1 := os.WriteFile(name, data[:usedLen(data)], 0o600)
		err2 := os.Truncate(name, int64(len(data)))
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
	}
	return to
}
