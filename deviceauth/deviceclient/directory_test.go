package deviceclient

import (
	"errors"
	"go/build"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// needsModes skips where there are none.
func needsModes(t *testing.T) {
	t.Helper()
	if !modes {
		t.Skip("the system has no modes")
	}
}

func TestTokenIsOnTheDiskUnderItsName(t *testing.T) {
	needsModes(t)
	t.Parallel()
	r, err := openDirectory(t.TempDir(), t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	var flushed []string
	r.flush = func(f *os.File) error {
		_, err := r.Stat("token")
		flushed = append(flushed, filepath.Base(f.Name())+map[bool]string{true: " after", false: " before"}[err == nil])
		return nil
	}
	err = r.write("token", []byte("text"))
	if want := []string{"token.new before", ". after"}; err != nil || !slices.Equal(flushed, want) {
		t.Errorf("%v, flushed %q, want %q the renaming", err, flushed, want)
	}
	for cause, fails := range map[error]bool{syscall.EIO: true, syscall.EINVAL: false, errors.ErrUnsupported: false} {
		r.flush = func(f *os.File) error {
			if f == r.dir {
				return cause
			}
			return nil
		}
		if err := r.write("token", nil); (err != nil) != fails {
			t.Errorf("where the folder's flush says %v: %v", cause, err)
		}
	}
}

func TestFolderThatIsOpenToOthersIsClosed(t *testing.T) {
	needsModes(t)
	t.Parallel()
	for _, mode := range []os.FileMode{0o777, 0o750} {
		s, f := newStrict(t, 3600), Folder(t.TempDir())
		if err := os.Chmod(string(f), mode); err != nil {
			t.Fatal(err)
		}
		var notes []string
		o := s.options()
		o.Note = func(text string) { notes = append(notes, text) }
		for range 2 {
			if _, err := f.Token(t.Context(), s.Server, o); err != nil {
				t.Error(err)
			}
		}
		info, err := os.Stat(string(f))
		if err != nil || info.Mode().Perm() != 0o700 || len(notes) != 1 ||
			!strings.Contains(notes[0], "was open to other users") {
			t.Errorf("%o: mode %o, %v, said %q", mode, info.Mode().Perm(), err, notes)
		}
	}
}

func TestOthersFilesAndFoldersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 || !modes {
		t.Skip("only root can give files away")
	}
	t.Parallel()
	for name, path := range map[string]func(*strict, Folder) string{
		"file":   (*strict).file,
		"folder": func(_ *strict, f Folder) string { return string(f) },
	} {
		t.Run(name, func(t *testing.T) {
			s, f := newStrict(t, 3600), Folder(t.TempDir())
			s.seed(f)
			if err := os.Chown(path(s, f), 12345, -1); err != nil {
				t.Fatal(err)
			}
			if token, err := f.Token(t.Context(), s.Server, s.options()); err == nil ||
				!strings.Contains(err.Error(), "belongs to another user") {
				t.Errorf("got %v, %v", token, err)
			}
		})
	}
}

func TestWhatIsNoFileIsNotFollowed(t *testing.T) {
	needsModes(t)
	t.Parallel()
	for name, to := range map[string]string{"in the folder": "folder/2", "out of it": "2"} {
		t.Run("link "+name, func(t *testing.T) {
			dir := t.TempDir()
			s, f := newStrict(t, 3600), Folder(filepath.Join(dir, "folder"))
			s.seed(f)
			to, path := filepath.Join(dir, to), s.file(f)
			if err := errors.Join(os.Rename(path, to), os.Symlink(to, path)); err != nil {
				t.Fatal(err)
			}
			if token, err := f.Token(t.Context(), s.Server, s.options()); err == nil ||
				!strings.Contains(err.Error(), "remove it") {
				t.Errorf("got %v, %v", token, err)
			}
		})
	}
	s, f := newStrict(t, 3600), Folder(t.TempDir())
	if err := os.Mkdir(s.file(f), 0o700); err != nil {
		t.Fatal(err)
	}
	if token, err := f.Token(t.Context(), s.Server, s.options()); err == nil ||
		!strings.Contains(err.Error(), "remove it") {
		t.Errorf("of a folder, got %v, %v", token, err)
	}
}

func TestEverySystemHasALockOrSaysThatItHasNone(t *testing.T) {
	t.Parallel()
	want := map[string]string{"windows": "lock_windows.go", "aix": "lock_other.go", "plan9": "lock_other.go",
		"js": "lock_other.go", "wasip1": "lock_other.go"}
	for _, system := range []string{
		"aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios", "js", "linux", "netbsd", "openbsd",
		"plan9", "solaris", "wasip1", "windows",
	} {
		files := build.Default
		files.GOOS = system
		var have []string
		for _, name := range []string{"lock_flock.go", "lock_windows.go", "lock_other.go"} {
			if match, err := files.MatchFile(".", name); err != nil {
				t.Error(err)
			} else if match {
				have = append(have, name)
			}
		}
		if file := want[system]; len(have) != 1 || file != "" && have[0] != file ||
			file == "" && have[0] != "lock_flock.go" {
			t.Errorf("%s is built with %q", system, have)
		}
	}
}
