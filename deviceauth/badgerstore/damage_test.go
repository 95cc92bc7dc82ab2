package badgerstore

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// damaged is a directory with a store that was closed, after something was done to
// one kind of its files.
func damaged(t *testing.T, pattern string, do func(file string) error) string {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("x"), 4<<10)
	for n := range 4 * memTable / len(text) {
		if err := s.Change(t.Context(), string(rune('a'+n%26)), func([]byte) ([]byte, error) { return append([]byte{byte(n), byte(n >> 8)}, text...), nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
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

// Damage is told, with what to do about it: no panic, and no empty store in the
// place of one that there was.
func TestDamageIsTold(t *testing.T) {
	half := func(file string) error {
		about, err := os.Stat(file)
		if err != nil {
			return err
		}
		return os.Truncate(file, about.Size()/2)
	}
	empty := func(file string) error { return os.Truncate(file, 0) }
	noise := func(file string) error { return os.WriteFile(file, bytes.Repeat([]byte{0xa5}, 5000), 0o600) }
	for name, test := range map[string]struct {
		pattern string
		do      func(string) error
	}{
		"no MANIFEST": {"MANIFEST", os.Remove}, "half a MANIFEST": {"MANIFEST", half}, "an empty MANIFEST": {"MANIFEST", empty}, "noise for a MANIFEST": {"MANIFEST", noise},
		"half a table": {"*.sst", half}, "an empty table": {"*.sst", empty}, "noise for a table": {"*.sst", noise}, "no tables": {"*.sst", os.Remove},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := damaged(t, test.pattern, test.do)
			s, err := Open(Options{Dir: dir})
			if s != nil {
				s.Close()
			}
			if err == nil || !strings.Contains(err.Error(), "caddy device-auth restore") || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "goroutine") {
				t.Errorf("got %v", err)
			}
		})
	}
}
