package badgerdb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/dgraph-io/badger/v4"
)

// otherUsers are the permission bits of all users but a file's owner.
const otherUsers fs.FileMode = 0o077

// hasModes reports whether the system has permission bits. On Windows, the folder that the
// directory is in keeps other users out.
const hasModes = runtime.GOOS != "windows"

// prepareDir creates the directory, or makes an existing one private: Badger's files are as
// open as the umask allows. It refuses a directory that
// cannot be made private, and one that has other files in it, such as /etc.
func (o Options) prepareDir() error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("badger store: %w", err)
	}
	if err := o.checkEmpty(); err != nil {
		return err
	}
	if !hasModes {
		return nil
	}
	dir, err := os.Open(o.Dir) // so that what is checked is what is changed
	if err != nil {
		return fmt.Errorf("badger store: %w", err)
	}
	defer dir.Close()
	before, err := dir.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("badger store: %w", err)
	case !before.IsDir():
		return fmt.Errorf("badger store: %s is no directory", o.Dir)
	case before.Mode()&otherUsers == 0:
		return nil
	}
	if err := makePrivate(dir); err != nil {
		return fmt.Errorf("badger store: %s is open to other users (mode %#o), who could read %s, "+
			"and cannot be closed to them: %w; run chmod 700 on it as its owner, "+
			"or keep the store in a directory of its own below it", o.Dir, before.Mode().Perm(), o.Secrets, err)
	}
	if o.Log != nil {
		o.Log.LogAttrs(context.Background(), slog.LevelWarn,
			"the store's directory was open to other users, and is closed to them now",
			slog.String("dir", o.Dir), slog.String("mode", fmt.Sprintf("%#o", before.Mode().Perm())))
	}
	return nil
}

// ownFileNames are the names of files and directories that may be in the directory
// before it is a database's: a start that did not end leaves them, and a file system may have
// its own, such as lost+found in the root of an ext4.
var ownFileNames = []string{"*.sst", "*.mem", "*.vlog", "KEYREGISTRY*", "MANIFEST*", "LOCK", "DISCARD",
	"trial-[0-9]*", "lost+found", ".gitkeep", ".keep", ".DS_Store", ".snapshot", ".nfs*"}

// isOwnFileName reports whether a name is one of ownFileNames, or that of a directory
// of kept tables.
func isOwnFileName(name string) bool {
	for _, prefix := range []string{newPrefix, keptPrefix, lostPrefix, overPrefix} {
		if isNumbered(name, prefix) {
			return true
		}
	}
	return slices.ContainsFunc(ownFileNames, func(pattern string) bool {
		matches, _ := filepath.Match(pattern, name)
		return matches
	})
}

// checkEmpty refuses a directory that has other files in it and no database.
func (o Options) checkEmpty() error {
	files, err := os.ReadDir(o.Dir)
	if err != nil {
		return fmt.Errorf("badger store: %w", err)
	}
	foreign := ""
	for _, file := range files {
		if file.Name() == badger.ManifestFilename {
			return nil
		}
		if !isOwnFileName(file.Name()) {
			foreign = file.Name()
		}
	}
	if foreign == "" {
		return nil
	}
	return fmt.Errorf("badger store: %s has other things in it, such as %q, and no store: want an empty directory, "+
		"or one that is not there yet, for the store alone", o.Dir, foreign)
}

// errModeIgnored is the error of a change of mode that has no effect, as on a FAT disk or
// on many network shares.
var errModeIgnored = errors.New("the file system keeps no modes")

// makePrivate checks the mode afterwards, because some file systems ignore a change of mode
// without an error.
func makePrivate(dir *os.File) error {
	if err := dir.Chmod(0o700); err != nil {
		return err
	}
	after, err := dir.Stat()
	if err == nil && after.Mode()&otherUsers != 0 {
		err = errModeIgnored
	}
	return err
}
