package deviceclient

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// The permissions that a file may give to other users.
const (
	userOnly fs.FileMode = 0
	others   fs.FileMode = 0o077
)

// modes reports whether the system has permission bits. On Windows the parent
// directory, that of the user's configuration, keeps other users out.
const modes = runtime.GOOS != "windows"

// A directory is an open directory that has been checked. It is accessed only by its
// descriptor, so that it cannot be replaced meanwhile.
type directory struct {
	*os.Root
	dir   *os.File             // the directory itself
	flush func(*os.File) error // writes a file or directory to disk
	note  func(string, ...any)
}

// openDirectory opens a directory for tokens, and creates it if needed. It is opened
// before it is checked, so that the checked directory is the one that is used.
func openDirectory(folder string, note func(string, ...any)) (*directory, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	r := &directory{Root: root, flush: (*os.File).Sync, note: note}
	if r.dir, err = root.Open("."); err == nil {
		err = r.takeOver()
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// takeOver refuses another user's directory, and removes permissions of others from
// our own. Files that others may have created there are refused when they are read.
func (r *directory) takeOver() error {
	info, err := r.dir.Stat()
	switch {
	case err != nil:
		return err
	case !ours(info):
		return fmt.Errorf("%s belongs to another user, who could read what is kept there", r.Name())
	case modes && info.Mode()&others != 0:
		r.note("%s was open to other users (mode %#o), and is closed to them now.", r.Name(), info.Mode().Perm())
		return r.dir.Chmod(0o700)
	}
	return nil
}

// read reads a file of this user, which must have no more permissions for others than
// may. The checks use the open descriptor, not the name.
func (r *directory) read(name string, may fs.FileMode) ([]byte, error) {
	path := filepath.Join(r.Name(), name)
	named, err := r.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !named.Mode().IsRegular() { // opening a pipe would block
		return nil, fmt.Errorf("%s is a link, or something else that is no file: remove it", path)
	}
	file, err := r.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, err
	case !os.SameFile(named, info):
		return nil, fmt.Errorf("%s was replaced while it was opened", path)
	case !ours(info):
		return nil, fmt.Errorf("%s belongs to another user: remove it", path)
	case modes && info.Mode()&others&^may != 0:
		return nil,
			fmt.Errorf("%s may be read by others (mode %#o): if nobody has, run chmod 600 on it; otherwise log out, "+
				"which revokes the token, and log in again", path, info.Mode().Perm())
	}
	return io.ReadAll(file)
}

// write replaces a file atomically: after a crash it is the old one or the new one,
// and never a part. The file is on disk under its name when write returns; otherwise
// a power failure could restore a used refresh token.
func (r *directory) write(name string, text []byte) error {
	next := name + ".new"                  // only one process writes it, because of the lock
	if err := r.delete(next); err != nil { // a file left by a crash would keep its mode
		return err
	}
	file, err := r.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, r.flush(file), file.Close()); err != nil {
		return err
	}
	if err := r.Rename(next, name); err != nil {
		return err
	}
	return r.sync()
}

// sync writes the directory's entries to disk, if the system can: Windows cannot, nor
// can some file systems.
func (r *directory) sync() error {
	if !modes {
		return nil
	}
	err := r.flush(r.dir)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// delete removes files, which need not exist.
func (r *directory) delete(names ...string) error {
	var errs []error
	for _, name := range names {
		if err := r.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (r *directory) close() {
	r.dir.Close() // it may be nil
	r.Close()
}
