package badgerdb

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4/table"
)

// Tables are kept in directories that Badger does not know. If the process ends during a
// compaction, the directory stays, and the next start has all tables whose compaction was
// not known to be complete. A part of them would bring deleted keys back, so a directory
// gets its final name by one rename.
const (
	keptPrefix = "kept-" // tables from before a running compaction
	lostPrefix = "lost-" // left by an earlier run: must be read and written back
	overPrefix = "over-" // not needed any more
	newPrefix  = "new-"  // not complete yet
)

// canLink reports whether the file system of a directory has hard links, which some lack.
// With hard links, keeping a table costs neither time nor space.
func canLink(dir string) bool {
	file, err := os.CreateTemp(dir, "trial-*")
	if err != nil {
		return false
	}
	file.Close()
	defer os.Remove(file.Name())
	second := file.Name() + "-2"
	defer os.Remove(second)
	return os.Link(file.Name(), second) == nil
}

// keepTables keeps the given tables in a new directory. keep links a table, or copies it if
// Badger would truncate the linked file when it removes the table.
func keepTables(dir string, list tableSet, keep func(from, to string) error) (kept string, err error) {
	if kept, err = os.MkdirTemp(dir, newPrefix); err != nil {
		return "", fmt.Errorf("badger store: no table in %s can be kept: %w", dir, cause(err))
	}
	for id := range list {
		if err = keep(table.NewFilename(id, dir), table.NewFilename(id, kept)); errors.Is(err, fs.ErrNotExist) {
			err = nil // another compaction has removed it
		}
		if err != nil {
			os.RemoveAll(kept)
			return "", fmt.Errorf("badger store: no table in %s can be kept: %w", dir, err)
		}
	}
	if kept, err = renameDir(kept, keptPrefix); err != nil {
		os.RemoveAll(kept)
		return "", fmt.Errorf("badger store: no table in %s can be kept: %w", dir, err)
	}
	return kept, nil
}

// renameDir renames a directory to a prefix and the time, which makes the name unique,
// within the same parent. It returns the directory's name afterwards, even with an error.
//
// The new name is durable when it returns, since callers rely on it. Both directories are
// opened before the rename, so that a lack of descriptors changes nothing.
func renameDir(dir, prefix string) (name string, err error) {
	parent := filepath.Dir(dir)
	to := filepath.Join(parent, fmt.Sprintf("%s%d", prefix, time.Now().UnixNano()))
	if !ownLock { // other systems cannot sync directories
		return to, os.Rename(dir, to)
	}
	child, err := os.Open(dir)
	if err != nil {
		return dir, err
	}
	defer child.Close()
	parentDir, err := os.Open(parent)
	if err != nil {
		return dir, err
	}
	defer parentDir.Close()
	if err := os.Rename(dir, to); err != nil {
		return dir, err
	}
	return to, errors.Join(child.Sync(), parentDir.Sync())
}

// copyFile copies a file and syncs the copy, because the original is about to be removed. A
// crash may leave a part of it: the directory gets its final name afterwards.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// renameKept marks the tables that were kept when the database was closed, or the process
// ended, as ones to be recovered. It removes directories that are not needed any more.
func renameKept(dir string) error {
	for _, kept := range numberedDirs(dir, keptPrefix) {
		if _, err := renameDir(kept, lostPrefix); err != nil {
			return fmt.Errorf("badger store: %w", err)
		}
	}
	for _, done := range append(numberedDirs(dir, overPrefix), numberedDirs(dir, newPrefix)...) {
		os.RemoveAll(done) // the next start removes what remains
	}
	return nil
}

// isNumbered reports whether a name is a prefix followed by a number, as the names of the
// directories of this package are: another program's directory must not be mistaken for one.
func isNumbered(name, prefix string) bool {
	number, ok := strings.CutPrefix(name, prefix)
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// numberedDirs returns the directories in dir that are named by prefix and a number.
func numberedDirs(dir, prefix string) (list []string) {
	files, _ := os.ReadDir(dir) // Badger reads dir too, and reports the error
	for _, file := range files {
		if file.IsDir() && isNumbered(file.Name(), prefix) {
			list = append(list, filepath.Join(dir, file.Name()))
		}
	}
	return list
}

// removeKept removes a directory of kept tables, which may be gone already. Renaming it is
// enough, since nothing reads it under its new name: the next start removes what remains.
func removeKept(kept string) error {
	over, err := renameDir(kept, overPrefix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		os.RemoveAll(over)
	}
	return err
}
