package badgerdb

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
)

// setInOneTransaction gives each document a text, all in one transaction, and writes one
// more document in another: so the end of the first transaction is not the end of the WAL.
func setInOneTransaction(t *testing.T, d *DB, text string) {
	t.Helper()
	err := d.Commit(func(txn *badger.Txn) (changed bool, err error) {
		for i := range documents {
			key, value := keyOf(fmt.Sprint("document ", i)), fmt.Appendf(nil, "%s %d", text, i)
			err = errors.Join(err, txn.Set(key, value))
		}
		return true, err
	})
	if err := cmp.Or(err, put(d, "last", []byte(text))); err != nil {
		t.Fatal(err)
	}
}

// A damaged byte anywhere in a WAL costs at most the change that it is in, and is logged.
func TestDamagedByteInAWALCostsOneChange(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("go test without -short runs it: nothing in it runs beside another")
	}
	for _, key := range [][]byte{nil, aKey} {
		dir := t.TempDir()
		d := open(t, optionsFor(dir, key, nil))
		setDocuments(t, d, "old")
		setInOneTransaction(t, d, "new")
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
		step := 97 // the ends of transactions follow below
		for at := 0; at < used; at += step {
			checkDamagedWAL(t, ended, logs[0], key, at, at < walHeaderSize, at > used-100)
		}
		for _, at := range txnEndOffsets(t, ended, key) {
			checkDamagedWAL(t, ended, logs[0], key, at, false, at > used-100)
		}
	}
}

// txnEndOffsets returns an offset within each record that ends a transaction.
func txnEndOffsets(t *testing.T, dir string, key []byte) (offsets []int) {
	t.Helper()
	o := optionsFor(dir, key, nil)
	keys, err1 := o.openKeyRegistry()
	logs, err2 := filesIn(dir, ".mem")
	if err := cmp.Or(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	l, err := o.newWALReader(logs[0], keys)
	if err != nil {
		t.Fatal(err)
	}
	for l.hasMore() {
		at := l.offset
		if l.next(0).meta&metaTxnEnd != 0 {
			offsets = append(offsets, at+8)
		}
	}
	return offsets
}

// checkDamagedWAL opens a copy of a store after a byte of a WAL was changed. head says
// whether the byte is in the WAL's header, and end whether it may be in its last change.
func checkDamagedWAL(t *testing.T, dir, log string, key []byte, at int, head, end bool) {
	t.Helper()
	dir, log = copyDir(t, dir), filepath.Base(log)
	flipByte(t, filepath.Join(dir, log), at)
	var lines bytes.Buffer
	d, err := Open(optionsFor(dir, key, &lines))
	if err != nil {
		if !head || !isDamage(err) {
			t.Errorf("byte %d: %v", at, err)
		}
		return
	}
	defer d.Close(0, nil)
	lost := missingDocuments(t, d, "new")
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
	for _, key := range [][]byte{nil, aKey} {
		dir := t.TempDir()
		d := open(t, optionsFor(dir, key, nil))
		setDocuments(t, d, "old")
		if err := d.Close(0, nil); err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{1, walHeaderSize - 1, walHeaderSize, walHeaderSize + 1, 4096, len(noise)} {
			for _, head := range []int{0, walHeaderSize} {
				damaged := copyDir(t, dir)
				data := append(make([]byte, min(head, size)), noise[:size-min(head, size)]...)
				if err := os.WriteFile(filepath.Join(damaged, "00099.mem"), data, 0o600); err != nil {
					t.Fatal(err)
				}
				d, err := Open(optionsFor(damaged, key, nil))
				if err != nil {
					if !isDamage(err) {
						t.Errorf("%d bytes: %v", size, err)
					}
					continue
				}
				if lost := missingDocuments(t, d, "old"); len(lost) > 0 {
					t.Errorf("%d bytes: %q", size, lost)
				}
				d.Close(0, nil)
			}
		}
	}
}

// walOfKilled returns the WAL of a database that was not closed, and its content.
func walOfKilled(t *testing.T, key []byte) (name string, data []byte) {
	t.Helper()
	dir := t.TempDir()
	d := open(t, optionsFor(dir, key, nil))
	setDocuments(t, d, "old")
	setDocuments(t, d, "new")
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
			log, data := walOfKilled(t, aKey)
			damage(data[:walHeaderSize])
			if err := os.WriteFile(log, data, 0o600); err != nil {
				t.Fatal(err)
			}
			var lines bytes.Buffer
			d, err := Open(optionsFor(filepath.Dir(log), aKey, &lines))
			if d != nil {
				d.Close(0, nil)
			}
			refused := isDamage(err)
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
	log, data := walOfKilled(t, nil)
	data[bytes.LastIndex(data, []byte("new 11"))] ^= 1
	if err := os.WriteFile(log, data, 0o600); err != nil {
		t.Fatal(err)
	}
	var lines bytes.Buffer
	d := open(t, optionsFor(filepath.Dir(log), nil, &lines))
	if lost := missingDocuments(t, d, "new"); len(lost) != 1 || !strings.Contains(lines.String(), "may be lost") {
		t.Errorf("%q is lost, and the log says %q", lost, &lines)
	}
}

// A store that is reopened in service looks for damage like a start.
func TestReopenedDatabaseRecoversFromDamage(t *testing.T) {
	t.Parallel()
	_, data := walOfKilled(t, nil)
	data[bytes.Index(data, []byte("new 1"))] ^= 1
	d := open(t, optionsFor(t.TempDir(), nil, nil))
	setDocuments(t, d, "old")
	d.markBroken(errDescriptors)
	if err := os.WriteFile(filepath.Join(d.o.Dir, "00099.mem"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	waitUntilReopened(t, d)
	if lost := missingDocuments(t, d, "new"); len(lost) != 1 {
		t.Errorf("%q", lost)
	}
}
