package badgerdb

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// A DamageError says that files are damaged in such a way, or that so many are gone, that
// the database can only be replaced by a backup.
type DamageError struct{ text string }

func (e *DamageError) Error() string { return e.text }

func damagef(format string, args ...any) error {
	return &DamageError{text: fmt.Sprintf(format, args...)}
}

// checkManifest refuses a directory with tables or logs and without a MANIFEST: Badger
// would begin an empty database there, without an error.
func (o Options) checkManifest() error {
	_, err := os.Stat(filepath.Join(o.Dir, badger.ManifestFilename))
	if !errors.Is(err, os.ErrNotExist) {
		return nil // Badger reports what else is wrong
	}
	for _, suffix := range []string{".sst", ".mem", ".vlog"} {
		if files, _ := filesIn(o.Dir, suffix); len(files) > 0 {
			return damagef("badger store: %s has data and no file %s, without which it cannot be read",
				o.Dir, badger.ManifestFilename)
		}
	}
	return nil
}

// damagedError returns the error for files that Badger cannot read, with Badger's reason.
func (o Options) damagedError(why error) error {
	cause, _, _ := strings.Cut(why.Error(), "\n") // without the stack trace of a panic
	return damagef("badger store: %s is damaged: %s", o.Dir, cause)
}

// ErrInUse is the error for a directory that another process has locked.
var ErrInUse = errors.New("is in use by another process")

func (o Options) inUse() error { return fmt.Errorf("badger store: %s %w", o.Dir, ErrInUse) }

// explain returns an error that says what an operator can do about a database that does not
// open: end the other process, give the right key, fix a lack of the system's, or restore a
// backup. It never advises the last if the files may be undamaged.
func (o Options) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "Another process is using this Badger database"): // if Badger has the lock
		return o.inUse()
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return fmt.Errorf("badger store: %s was made with another encryption key, or with none: want the key it "+
			"was made with", o.Dir)
	case isSystemError(err):
		return fmt.Errorf("badger store: opening %s: %w", o.Dir, err)
	}
	return o.damagedError(err)
}

// systemErrors are errors of the system that say nothing about what is in the files.
var systemErrors = [...]syscall.Errno{
	syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT,
	syscall.EIO, syscall.ENOMEM,
}

// isSystemError reports whether an error is one of the system's. Badger keeps only the text
// of most errors.
func isSystemError(err error) bool {
	for _, errno := range systemErrors {
		if errors.Is(err, errno) || strings.Contains(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}
