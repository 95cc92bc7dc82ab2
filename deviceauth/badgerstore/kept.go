package badgerstore

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

// Tables are kept in directories that Badger knows nothing of. The end of the process
// leaves them, so that the next start finds whole what a merge has not been told whole:
// part of it would bring back what was deleted, so a directory is renamed at once.
const (
	keptPrefix = "kept-" // tables of which others are being made
	lostPrefix = "lost-" // that were kept when the database was opened, and have to be read
	overPrefix = "over-" // that are not needed any more
	newPrefix  = "new-"  // that are being kept
)

// canLink tells whether a file can have two names here, which some file systems lack.
// Where it can, a table is kept at no cost of time or space.
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

// keepTables gives tables a second name each, or where Badger will cut them when it
// removes them, copies them.
func keepTables(dir string, list tables, keep func(from, to string) error) (kept string, err error) {
	if kept, err = os.MkdirTemp(dir, newPrefix); err != nil {
		return "", fmt.Errorf("badger store: no table in %s can be kept: %w", dir, cause(err))
	}
	for id := range list {
		if err = keep(table.NewFilename(id, dir), table.NewFilename(id, kept)); errors.Is(err, fs.ErrNotExist) {
			err = nil // another merge has dropped it
		}
		if err != nil {
			os.RemoveAll(kept)
			return "", fmt.Errorf("badger store: no table in %s can be kept: %w", dir, err)
		}
	}
	if kept, err = renamed(kept, keptPrefix); err != nil {
		os.RemoveAll(kept)
		return "", fmt.Errorf("badger store: no table in %s can be kept: %w", dir, err)
	}
	return kept, nil
}

// renamed gives a directory another name, beside where it is: a prefix, and the time,
// which makes it unique. It returns the name that the directory has, also with an error.
//
// The new name is on the disk when it returns: what is done next rests on it. What that
// needs is opened before anything is renamed.
func renamed(dir, as string) (name string, err error) {
	parent := filepath.Dir(dir)
	to := filepath.Join(parent, fmt.Sprintf("%s%d", as, time.Now().UnixNano()))
	if !ownLock { // other systems sync no directories
		return to, os.Rename(dir, to)
	}
	own, err := os.Open(dir)
	if err != nil {
		return dir, err
	}
	defer own.Close()
	above, err := os.Open(parent)
	if err != nil {
		return dir, err
	}
	defer above.Close()
	if err := os.Rename(dir, to); err != nil {
		return dir, err
	}
	return to, errors.Join(own.Sync(), above.Sync())
}

// copied copies a file and has it reach the disk, because the original is about to go. The
// process or the system may end during it: the directory gets its name afterwards.
func copied(from, to string) error {
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

// setKeptAside renames what was kept when the database was closed, or the process
// ended, and removes what nobody needs.
func setKeptAside(dir string) error {
	for _, kept := range named(dir, keptPrefix) {
		if _, err := renamed(kept, lostPrefix); err != nil {
			return fmt.Errorf("badger store: %w", err)
		}
	}
	for _, done := range append(named(dir, overPrefix), named(dir, newPrefix)...) {
		os.RemoveAll(done) // what cannot be removed is at the next start
	}
	return nil
}

// isNumbered reports whether a name is a prefix and a number, as those of the store's own directories
// are: the directory of another program must not be taken for one.
func isNumbered(name, prefix string) bool {
	number, ok := strings.CutPrefix(name, prefix)
	return ok && number != "" && strings.Trim(number, "0123456789") == ""
}

// named returns the directories of a prefix and a number.
func named(dir, as string) (list []string) {
	files, _ := os.ReadDir(dir) // Badger reads it too, and says why it cannot be read
	for _, file := range files {
		if file.IsDir() && isNumbered(file.Name(), as) {
			list = append(list, filepath.Join(dir, file.Name()))
		}
	}
	return list
}

// dropTables removes tables that were kept. Once they have another name nobody reads
// them: what is left of them goes at the next start. Those that have gone are dropped.
func dropTables(kept string) error {
	over, err := renamed(kept, overPrefix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		os.RemoveAll(over)
	}
	return err
}
