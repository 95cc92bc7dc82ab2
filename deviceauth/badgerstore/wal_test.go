package badgerstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// setInOneTransaction gives each document a text, all in one transaction, and writes one
// more document in another: so the end of the first transaction is not the end of the WAL.
func setInOneTransaction(t *testing.T, s *Store, text string) {
	t.Helper()
	var jobs []*job
	for i := range documents {
		jobs = append(jobs, &job{done: make(chan struct{}), change: func(b *batch) error {
			return b.changeDocument(fmt.Sprint("document ", i), func([]byte) ([]byte, error) {
				return fmt.Appendf(nil, "%s %d", text, i), nil
			})
		}})
	}
	s.commitBatch(jobs)
	for _, j := range jobs {
		if j.err != nil {
			t.Fatal(j.err)
		}
	}
	err := s.UpdateDocument(t.Context(), "last", func([]byte) ([]byte, error) { return []byte(text), nil })
	if err != nil {
		t.Fatal(err)
	}
}

// A damaged byte anywhere in a WAL costs at most the change that it is in, and is logged.
func TestDamagedByteInAWALCostsOneChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("go test without -short runs it: nothing in it runs beside another")
	}
	for _, key := range []deviceauth.Secret{"", aKey} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, EncryptionKey: key})
		setDocuments(t, s, "old")
		setInOneTransaction(t, s, "new")
		ended := copyDir(t, dir) // as a crash leaves it
		logs, err := filesIn(ended, ".mem")
		if err != nil || len(logs) == 0 {
			t.Fatalf("%q, %v", logs, err)
		}
		whole, err := os.ReadFile(logs[0])
		if err != nil {
			t.Fatal(err)
		}
		used := usedLen(whole)
		step := 37
		for at := 0; at < used; at += step {
			checkDamagedWAL(t, ended, logs[0], key, at, at < walHeaderSize, at > used-100)
		}
		for _, at := range txnEndOffsets(t, ended, key) {
			checkDamagedWAL(t, ended, logs[0], key, at, false, at > used-100)
		}
	}
}

// txnEndOffsets returns an offset within each record that ends a transaction.
func txnEndOffsets(t *testing.T, dir string, key deviceauth.Secret) (places []int) {
	t.Helper()
	o := Options{Dir: dir, EncryptionKey: key}
	raw, err1 := o.key()
	keys, err2 := o.openKeyRegistry(raw)
	logs, err3 := filesIn(dir, ".mem")
	if err := cmp.Or(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	l, err := newWALReader(logs[0], keys, key != "")
	if err != nil {
		t.Fatal(err)
	}
	for l.hasMore() {
		at := l.offset
		if l.next(0).meta&metaTxnEnd != 0 {
			places = append(places, at+8)
		}
	}
	return places
}

// checkDamagedWAL opens a copy of a store after a byte of a WAL was changed. head says
// whether the byte is in the WAL's header, and end whether it may be in its last change.
func checkDamagedWAL(t *testing.T, dir, log string, key deviceauth.Secret, at int, head, end bool) {
	t.Helper()
	dir, log = copyDir(t, dir), filepath.Base(log)
	flipByte(t, filepath.Join(dir, log), at)
	var lines bytes.Buffer
	s, err := Open(Options{Dir: dir, EncryptionKey: key, Log: slog.New(slog.NewTextHandler(&lines, nil))})
	if err != nil {
		if !head || !strings.Contains(err.Error(), "caddy device-auth restore") {
			t.Errorf("byte %d: %v", at, err)
		}
		return
	}
	defer s.Close()
	lost := missingDocuments(t, s, "new")
	if len(lost) > 1 {
		t.Errorf("byte %d: %q", at, lost)
	}
	want := log + " is not whole at byte "
	if end {
		want = log + " "
	}
	if !strings.Contains(lines.String(), want) && !(head && len(lost) == 0) {
		t.Errorf("byte %d: the log says %q", at, &lines)
	}
	if left := numberedDirs(dir, lostPrefix); len(left) > 0 {
		t.Errorf("byte %d: %q is left", at, left)
	}
}

// flipByte changes one byte of a file.
func flipByte(t *testing.T, name string, at int) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	one := make([]byte, 1)
	_, err1 := file.ReadAt(one, int64(at))
	one[0] ^= 0x55
	_, err2 := file.WriteAt(one, int64(at))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
}

// Random bytes and zeros in a WAL of any length do not end the process; the store opens, or
// its error says what to do.
func TestRandomBytesInAWALDoNotCrash(t *testing.T) {
	t.Parallel()
	noise := make([]byte, walSize)
	for i := range 100_000 {
		noise[i] = byte(i*i>>3 ^ i>>7)
	}
	noise[len(noise)-1] = 1 // after zeros, which are skipped at once
	for _, key := range []deviceauth.Secret{"", aKey} {
		dir := t.TempDir()
		s := open(t, Options{Dir: dir, EncryptionKey: key})
		setDocuments(t, s, "old")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, walHeaderSize - 1, walHeaderSize, walHeaderSize + 1, 4096, len(noise)} {
			for _, head := range []int{0, walHeaderSize} {
				damaged := copyDir(t, dir)
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
				if lost := missingDocuments(t, s, "old"); len(lost) > 0 {
					t.Errorf("%d bytes: %q", size, lost)
				}
				s.Close()
			}
		}
	}
}

// walOfKilledStore returns the WAL of a store that was not closed, and its content.
func walOfKilledStore(t *testing.T, key deviceauth.Secret) (name string, data []byte) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, EncryptionKey: key})
	setDocuments(t, s, "old")
	setDocuments(t, s, "new")
	logs, err := filesIn(copyDir(t, dir), ".mem")
	if err != nil || len(logs) == 0 {
		t.Fatalf("%q, %v", logs, err)
	}
	if data, err = os.ReadFile(logs[0]); err != nil {
		t.Fatal(err)
	}
	return logs[0], data
}

// Without its header nothing in an encrypted WAL can be read: that is an error, or is
// logged if the power may have failed before anything in it was promised.
func TestDamagedHeaderOfAnEncryptedWALIsReported(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(head []byte){
		"a bit of the key's number": func(head []byte) { head[7] ^= 1 },
		"another number":            func(head []byte) { head[6] ^= 1 },
		"a bit of the nonce":        func(head []byte) { head[9] ^= 1 },
		"zeros":                     func(head []byte) { clear(head) },
	} {
		t.Run(name, func(t *testing.T) {
			log, data := walOfKilledStore(t, aKey)
			damage(data[:walHeaderSize])
			if err := os.WriteFile(log, data, 0o600); err != nil {
				t.Fatal(err)
			}
			var lines bytes.Buffer
			s, err := Open(Options{
				Dir: filepath.Dir(log), EncryptionKey: aKey, Log: slog.New(slog.NewTextHandler(&lines, nil)),
			})
			if s != nil {
				s.Close()
			}
			refused := err != nil && strings.Contains(err.Error(), "caddy device-auth restore")
			logged := strings.Contains(lines.String(), "may be lost")
			if logged != (name == "zeros") || refused == logged {
				t.Errorf("%v, and the log says %q", err, &lines)
			}
		})
	}
}

// Damage in the last change, whose end is undamaged, is logged as damage, and not as the
// usual end of a WAL.
func TestDamageInTheLastChangeIsReported(t *testing.T) {
	t.Parallel()
	log, data := walOfKilledStore(t, "")
	data[bytes.LastIndex(data, []byte("new 11"))] ^= 1
	if err := os.WriteFile(log, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	s := open(t, Options{Dir: filepath.Dir(log), Log: slog.New(slog.NewTextHandler(&lines, nil))})
	if lost := missingDocuments(t, s, "new"); len(lost) != 1 || !strings.Contains(lines.String(), "may be lost") {
		t.Errorf("%q is lost, and the log says %q", lost, &lines)
	}
}

// A store that is reopened in service looks for damage like a start.
func TestReopenedStoreRecoversFromDamage(t *testing.T) {
	t.Parallel()
	log, data := walOfKilledStore(t, "")
	data[bytes.Index(data, []byte("new 1"))] ^= 1
	s := open(t, Options{Dir: t.TempDir()})
	setDocuments(t, s, "old")
	s.markBroken(errDescriptors)
	if err := os.WriteFile(filepath.Join(s.dir, "00099.mem"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); s.broken.Load() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the store is not opened again: ", log)
		}
	}
	if lost := missingDocuments(t, s, "new"); len(lost) != 1 {
		t.Errorf("%q", lost)
	}
}
