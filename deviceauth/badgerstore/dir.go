package badgerstore

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

// otherUsers are the permission bits of all users but the owner of a file.
const otherUsers fs.FileMode = 0o077

// hasModes tells whether the system has them. Windows keeps other users out by
// the folder that the directory is in.
const hasModes = runtime.GOOS != "windows"

// prepareDir makes the directory, or closes the one that is there to other users:
// Badger's files are as open as the umask lets them be, and the signing keys
// are in them. A directory that cannot be closed is refused, and so is one that is something
// else's, such as /etc.
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
	dir, err := os.Open(o.Dir) // what is looked at is what is changed
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
		return fmt.Errorf("badger store: %s is open to other users (mode %#o), who could read the signing keys, "+
			"and cannot be closed to them: %w; run chmod 700 on it as its owner, "+
			"or keep the store in a directory of its own below it", o.Dir, before.Mode().Perm(), err)
	}
	if o.Log != nil {
		o.Log.LogAttrs(context.Background(), slog.LevelWarn,
			"the store's directory was open to other users, and is closed to them now",
			slog.String("dir", o.Dir), slog.String("mode", fmt.Sprintf("%#o", before.Mode().Perm())))
	}
	return nil
}

// storeFileNames are of files and directories that may be in a store's directory before it is a
// store: a start that did not end leaves them, and ext4 has its own in its root.
var storeFileNames = []string{"*.sst", "*.mem", "*.vlog", "KEYREGISTRY*", "MANIFEST*", "LOCK", "DISCARD",
	"trial-[0-9]*", "lost+found", ".gitkeep", ".keep", ".DS_Store", ".snapshot", ".nfs*"}

// isStoreFileName reports whether a name is one of them, or that of tables that are kept.
func isStoreFileName(name string) bool {
	for _, prefix := range []string{newPrefix, keptPrefix, lostPrefix, overPrefix} {
		if isNumbered(name, prefix) {
			return true
		}
	}
	return slices.ContainsFunc(storeFileNames, func(pattern string) bool {
		matches, _ := filepath.Match(pattern, name)
		return matches
	})
}

// checkEmpty refuses a directory that has other things in it and no store.
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
		if !isStoreFileName(file.Name()) {
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

// makePrivate looks again, because some file systems ignore a change of mode
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
