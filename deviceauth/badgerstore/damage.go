package badgerstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// whatToDo stands in every refusal of a database that is damaged.
const whatToDo = "move the directory away and bring the last backup back with caddy device-auth restore; " +
	"docs/troubleshooting.md says more"

// manifest refuses a directory with tables or logs and without the list of them:
// Badger would begin an empty database there, without a word.
func (o Options) manifest() error {
	_, err := os.Stat(filepath.Join(o.Dir, badger.ManifestFilename))
	if !errors.Is(err, os.ErrNotExist) {
		return nil // Badger says what else is wrong
	}
	for _, pattern := range []string{"*.sst", "*.mem", "*.vlog"} {
		if files, _ := filepath.Glob(filepath.Join(o.Dir, pattern)); len(files) > 0 {
			return fmt.Errorf("badger store: %s has data and no file %s, without which it cannot be read: %s",
				o.Dir, badger.ManifestFilename, whatToDo)
		}
	}
	return nil
}

// maxChecksum is more than the bytes of a table's checksum, which is an algorithm
// and a number.
const maxChecksum = 64

// tables refuses a directory with a table whose end is none. Badger reads the end of
// a table without a look at what it says, in a goroutine where no panic is caught.
// From back to front it is the length of a checksum, the checksum, the length of an
// index, and the index.
func (o Options) tables() error {
	files, _ := filepath.Glob(filepath.Join(o.Dir, "*.sst")) // the pattern is good
	for _, name := range files {
		if err := checkTable(name); err != nil {
			return fmt.Errorf("badger store: %s is damaged: %w: %s", o.Dir, err, whatToDo)
		}
	}
	return nil
}

func checkTable(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	about, err := file.Stat()
	if err != nil {
		return err
	}
	end := about.Size()
	for _, most := range []int64{maxChecksum, end} {
		var text [4]byte
		if _, err := file.ReadAt(text[:], end-4); end < 4 || err != nil {
			return fmt.Errorf("the table %s ends too soon", filepath.Base(name))
		}
		end -= 4
		length := int64(binary.BigEndian.Uint32(text[:]))
		if length == 0 || length > most || length > end {
			return fmt.Errorf("the table %s has another end than a table's", filepath.Base(name))
		}
		end -= length
	}
	return nil
}

// explain says what an operator can do about a database that does not open.
func (o Options) explain(err error) error {
	locked := strings.Contains(err.Error(), "Cannot acquire directory lock")
	var system syscall.Errno
	switch {
	case locked && (errors.Is(err, syscall.EAGAIN) || !errors.As(err, &system)):
		return fmt.Errorf("badger store: %s is in use by another process; several gateways need a store that can be shared", o.Dir)
	case locked:
		return fmt.Errorf("badger store: %s cannot be locked: %w; the file system has to know locks (flock), and Caddy's user has to own the directory", o.Dir, system)
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return fmt.Errorf("badger store: %s was made with another encryption key, or with none: want the key it was made with", o.Dir)
	case errors.As(err, &system) && !errors.Is(err, os.ErrNotExist): // the disk's own words: no rights, no space, no descriptors
		return fmt.Errorf("badger store: opening %s: %w", o.Dir, err)
	}
	cause, _, _ := strings.Cut(err.Error(), "\n") // of a panic, without where it was
	return fmt.Errorf("badger store: %s is damaged: %s: %s", o.Dir, cause, whatToDo)
}
