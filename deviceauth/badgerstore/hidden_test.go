package badgerstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// documents is how many each of these tests writes, each of them twice.
const documents = 12

// setDocuments gives each document a text.
func setDocuments(t *testing.T, s *Store, text string) {
	t.Helper()
	for i := range documents {
		err := s.UpdateDocument(t.Context(), fmt.Sprint("document ", i), func([]byte) ([]byte, error) {
			return fmt.Appendf(nil, "%s %d", text, i), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// lackingDocuments returns the documents that have not a text any more.
func lackingDocuments(t *testing.T, s *Store, text string) (list []string) {
	t.Helper()
	for i := range documents {
		got, err := s.LoadDocument(t.Context(), fmt.Sprint("document ", i))
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%s %d", text, i); string(got) != want {
			list = append(list, fmt.Sprintf("%q, want %q", got, want))
		}
	}
	return list
}

// recordsOf returns where the records of a list of tables begin, and where it ends.
func recordsOf(t *testing.T, manifest []byte) (begins []int) {
	t.Helper()
	at := 8
	for ; at < len(manifest); at += 8 + int(binary.BigEndian.Uint32(manifest[at:])) {
		begins = append(begins, at)
	}
	return append(begins, at)
}

// A list of tables that ends too soon, between two records or within one, loses nothing: what
// it lacks is written back, or the directory is refused.
func TestTablesThatAreNotListedAreNotLost(t *testing.T) {
	t.Parallel()
	for _, key := range []deviceauth.Secret{"", aKey} {
		dir := filepath.Join(t.TempDir(), "[store]") // which is no pattern
		for _, text := range []string{"old", "new"} {
			s := open(t, Options{Dir: dir, EncryptionKey: key})
			setDocuments(t, s, text)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		whole, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
		if err != nil {
			t.Fatal(err)
		}
		begins := recordsOf(t, whole)
		if len(begins) < 3 {
			t.Fatalf("the list of tables has %d records: want two at least", len(begins)-1)
		}
		recovered := 0
		for _, begin := range begins {
			for _, size := range []int{begin, begin + 5, begin + 12} {
				if size <= len(whole) && opensShortened(t, dir, key, int64(size)) {
					recovered++
				}
			}
		}
		if recovered < 4 {
			t.Errorf("%d of the lists that ended too soon were made up for: want most", recovered)
		}
	}
}

// opensShortened opens a copy of a store whose list of tables ends too soon, and reports
// whether it opens.
func opensShortened(t *testing.T, dir string, key deviceauth.Secret, size int64) bool {
	t.Helper()
	dir = copyOf(t, dir)
	if err := os.Truncate(filepath.Join(dir, badger.ManifestFilename), size); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and once more, of what was written back
		s, err := Open(Options{Dir: dir, EncryptionKey: key})
		if err != nil {
			if !strings.Contains(err.Error(), "caddy device-auth restore") {
				t.Errorf("%d bytes: %v", size, err)
			}
			return false // it lists a table that has gone
		}
		if lost := lackingDocuments(t, s, "new"); len(lost) > 0 {
			t.Errorf("%d bytes: %q", size, lost)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if left := named(dir, lostAs); len(left) > 0 {
		t.Errorf("%d bytes: %q is left", size, left)
	}
	return true
}

// What was deleted does not come back from a table that a merge has taken out of the list
// and that lies there still.
func TestTablesThatWereRemovedAreNotReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir})
	setDocuments(t, s, "old")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	tables, err := tablesIn(dir)
	if err != nil || len(tables) == 0 {
		t.Fatalf("%q, %v", tables, err)
	}
	before, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{Dir: dir})
	if err := s.db.Load().DropAll(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tables[0], before, 0o600); err != nil {
		t.Fatal(err)
	}
	if lost := lackingDocuments(t, open(t, Options{Dir: dir}), "old"); len(lost) != documents {
		t.Errorf("%d of %d documents came back", documents-len(lost), documents)
	}
}

// A byte anywhere in a log costs at most the change that it is in, and that is told.
func TestDamageInsideALogCostsOneChange(t *testing.T) {
	t.Parallel()
	for _, key := range []deviceauth.Secret{"", aKey} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, EncryptionKey: key})
		setDocuments(t, s, "old")
		setDocuments(t, s, "new")
		ended := copyOf(t, dir) // as the end of the process leaves it
		logs, err := filesIn(ended, ".mem")
		if err != nil || len(logs) == 0 {
			t.Fatalf("%q, %v", logs, err)
		}
		whole, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		used := len(bytes.TrimRight(whole, "\x00"))
		step := 37
		if testing.Short() {
			step = 101
		}
		for at := 0; at < used; at += step {
			checkDamagedLog(t, ended, logs[0], key, at, at < logHead, at > used-100)
		}
		checkDamagedLog(t, ended, logs[0], key, used/2, false, false)
	}
}

// checkDamagedLog opens a copy of a store after a byte of a log in it was changed. head is
// whether the byte is in the log's head, and end whether it may be in its last change.
func checkDamagedLog(t *testing.T, dir, log string, key deviceauth.Secret, at int, head, end bool) {
	t.Helper()
	dir, log = copyOf(t, dir), filepath.Base(log)
	data, err := os.ReadFile(filepath.Join(dir, log))
	if err != nil {
		t.Fatal(err)
	}
	data[at] ^= 0x55
	if err := os.WriteFile(filepath.Join(dir, log), data, 0o600); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	s, err := Open(Options{Dir: dir, EncryptionKey: key, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		if !head || !strings.Contains(err.Error(), "caddy device-auth restore") {
			t.Errorf("byte %d: %v", at, err)
		}
		return
	}
	defer s.Close()
	lost := lackingDocuments(t, s, "new")
	if len(lost) > 1 {
		t.Errorf("byte %d: %q", at, lost)
	}
	want := log + " is damaged at byte "
	if end {
		want = log + " "
	}
	if !strings.Contains(lines.String(), want) && !(head && len(lost) == 0) {
		t.Errorf("byte %d: the log says %q", at, &lines)
	}
	if left := named(dir, lostAs); len(left) > 0 {
		t.Errorf("byte %d: %q is left", at, left)
	}
}

// Noise and zeros in a log of any length end no process, and keep the store from being
// opened at most with a reason.
func TestLogsOfNoise(t *testing.T) {
	t.Parallel()
	noise := make([]byte, logSize)
	for i := range 100_000 {
		noise[i] = byte(i*i>>3 ^ i>>7)
	}
	noise[len(noise)-1] = 1 // behind zeros, which are passed over at once
	for _, key := range []deviceauth.Secret{"", aKey} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, EncryptionKey: key})
		setDocuments(t, s, "old")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, logHead - 1, logHead, logHead + 1, 4096, len(noise)} {
			for _, head := range []int{0, logHead} {
				damaged := copyOf(t, dir)
				data := append(make([]byte, min(head, size)), noise[:size-min(head, size)]...)
				if err := os.WriteFile(filepath.Join(damaged, "00099.mem"), data, 0o600); err != nil {
					t.Fatal(err)
				}
				s, err := Open(Options{Dir: damaged, EncryptionKey: key})
				if err != nil {
					if !strings.Contains(err.Error(), "restore") {
						t.Errorf("%d bytes: %v", size, err)
					}
					continue
				}
				if lost := lackingDocuments(t, s, "old"); len(lost) > 0 {
					t.Errorf("%d bytes: %q", size, lost)
				}
				s.Close()
			}
		}
	}
}

// copyOf copies a directory.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
