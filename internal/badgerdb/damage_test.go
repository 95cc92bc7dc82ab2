package badgerdb

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damagedDatabase returns the directory of a closed database, after do was called for each file
// of a pattern.
func damagedDatabase(t *testing.T, pattern string, do func(file string) error) string {
	t.Helper()
	dir := t.TempDir()
	d, err := Open(optionsFor(dir, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("x"), 64<<10) // large ones, as each change waits for the disk
	for n := range 4 * memTable / len(text) {
		if err := put(d, string(rune('a'+n%26)), append([]byte{byte(n), byte(n >> 8)}, text...)); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	for _, file := range files {
		if err := do(file); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Damage is reported, with what to do about it: there is no panic, and no empty store in
// the place of the damaged one.
func TestDamageIsReported(t *testing.T) {
	half := func(file string) error {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		return os.Truncate(file, info.Size()/2)
	}
	empty := func(file string) error { return os.Truncate(file, 0) }
	noise := func(file string) error { return os.WriteFile(file, bytes.Repeat([]byte{0xa5}, 5000), 0o600) }
	for name, test := range map[string]struct {
		pattern string
		do      func(string) error
	}{
		"no MANIFEST": {"MANIFEST", os.Remove}, "half a MANIFEST": {"MANIFEST", half},
		"an empty MANIFEST": {"MANIFEST", empty}, "noise for a MANIFEST": {"MANIFEST", noise},
		"half a table": {"*.sst", half}, "an empty table": {"*.sst", empty}, "noise for a table": {"*.sst", noise},
		"no tables": {"*.sst", os.Remove},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := damagedDatabase(t, test.pattern, test.do)
			d, err := Open(optionsFor(dir, nil, nil))
			if d != nil {
				d.Close(0, nil)
			}
			if !isDamage(err) ||
				!strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "goroutine") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// closedWithTable returns the directory of a closed database that has a record, "x", and its
// tables.
func closedWithTable(t *testing.T, key []byte) (dir string, tables []string) {
	t.Helper()
	dir = t.TempDir()
	d := open(t, optionsFor(dir, key, nil))
	if err := put(d, "x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(0, nil); err != nil {
		t.Fatal(err)
	}
	tables, _ = filepath.Glob(filepath.Join(dir, "*.sst"))
	if len(tables) == 0 {
		t.Fatal("there is no table")
	}
	return dir, tables
}

// One damaged byte anywhere in a table is reported, encrypted or not.
func TestDamageInsideATableIsReported(t *testing.T) {
	t.Parallel()
	for _, key := range [][]byte{nil, aKey} {
		dir, tables := closedWithTable(t, key)
		whole, err := os.ReadFile(tables[0])
		if err != nil {
			t.Fatal(err)
		}
		step := 1
		if testing.Short() {
			step = 7
		}
		for at := 0; at < len(whole); at += step {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 0x55
			if err := os.WriteFile(tables[0], damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			d, err := Open(optionsFor(dir, key, nil))
			if d != nil {
				d.Close(0, nil)
			}
			if !isDamage(err) || !strings.Contains(err.Error(), "is damaged: the table 00") {
				t.Fatalf("byte %d of %d: %v", at, len(whole), err)
			}
		}
		if err := os.WriteFile(tables[0], whole, 0o600); err != nil {
			t.Fatal(err)
		}
		open(t, optionsFor(dir, key, nil))
	}
}

// Files that Badger could truncate and not remove, because the directory was read-only, do
// not keep a database from opening.
func TestEmptyFilesAreNoDamage(t *testing.T) {
	t.Parallel()
	dir, _ := closedWithTable(t, nil)
	for _, name := range []string{"00007.mem", "000009.vlog", "000123.sst"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if value, err := get(open(t, optionsFor(dir, nil, nil)), "x"); err != nil || string(value) != "x" {
		t.Errorf("%q, %v", value, err)
	}
}

// An operator who reads of damage moves the directory away: an error of the system is not
// damage.
func TestSystemErrorsAreNoDamage(t *testing.T) {
	t.Parallel()
	o := Options{Dir: "/var/lib/store"}
	for _, text := range []string{
		`Cannot write pid file "/var/lib/store/LOCK" err: open /var/lib/store/LOCK: permission denied`,
		"while opening memtables err: while opening fid: 3 err: open /var/lib/store/00003.mem: too many open files\n" +
			"unable to open",
		"open /var/lib/store/MANIFEST: input/output error",
	} {
		if err := o.explain(errors.New(text)); strings.Contains(err.Error(), "damaged") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := o.explain(errors.New("file does not exist for table 3")); !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}
