//go:build unix

package badgerdb

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func modeOf(t *testing.T, name string) os.FileMode {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestOpenDirectoryIsClosedToOthers(t *testing.T) {
	for _, mode := range []os.FileMode{0o755, 0o750, 0o777, 0o701} {
		dir := filepath.Join(t.TempDir(), "store")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		var decoded bytes.Buffer
		open(t, optionsFor(dir, nil, &decoded))
		if got := modeOf(t, dir); got != 0o700 {
			t.Errorf("%#o has become %#o", mode, got)
		}
		if !strings.Contains(decoded.String(), "was open to other users") || !strings.Contains(decoded.String(), dir) {
			t.Errorf("the log says %q", decoded.String())
		}
	}
}

func TestDirectoryIsMadeForItsOwnerAlone(t *testing.T) {
	parent := filepath.Join(t.TempDir(), "data")
	var decoded bytes.Buffer
	open(t, optionsFor(filepath.Join(parent, "store"), nil, &decoded))
	for _, dir := range []string{parent, filepath.Join(parent, "store")} {
		if got := modeOf(t, dir); got != 0o700 {
			t.Errorf("%s has mode %#o", dir, got)
		}
	}
	if decoded.Len() > 0 {
		t.Errorf("the log says %q", decoded.String())
	}
}

// testDirEnv names the directory for a copy of this test that runs as another user.
const testDirEnv = "BADGERDB_TEST_DIR"

func TestOpenDirectoryOfAnotherUserIsRefused(t *testing.T) {
	if dir := os.Getenv(testDirEnv); dir != "" {
		_, err := Open(optionsFor(dir, nil, nil))
		if err == nil || !strings.Contains(err.Error(), "cannot be closed to them") ||
			!strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("got %v", err)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	dir, err := os.MkdirTemp("", "badgerdb") // t.TempDir is below a closed one
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "program")
	text, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, text, 0o755); err != nil {
		t.Fatal(err)
	}
	store := filepath.Join(dir, "store")
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(store, 0o755), os.Chmod(store, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(program, "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Dir, cmd.Env = "/", append(os.Environ(), testDirEnv+"="+store)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// A directory of something else is neither closed to other users nor written to.
func TestDirectoryWithOtherThingsIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "important"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	through := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, through); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{dir, through} {
		d, err := Open(optionsFor(name, nil, nil))
		if err == nil {
			d.Close(0, nil)
		}
		if err == nil || !strings.Contains(err.Error(), `such as "important"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 || modeOf(t, dir) != 0o755 {
		t.Errorf("%v, %v, mode %#o", files, err, modeOf(t, dir))
	}
	photos := filepath.Join(t.TempDir(), "x")
	if err := os.MkdirAll(filepath.Join(photos, "new-photos"), 0o700); err != nil {
		t.Fatal(err)
	}
	if d, err := Open(optionsFor(photos, nil, nil)); err == nil {
		d.Close(0, nil)
		t.Error("the directory of another program is taken for a directory of the store")
	}
	// An existing store may have other files beside it, and the root of a file system has
	// its own.
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := open(t, optionsFor(dir, nil, nil)).Close(0, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, optionsFor(dir, nil, nil))
}
