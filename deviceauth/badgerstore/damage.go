package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/dgraph-io/badger/v4"
)

// restoreAdvice stands in every refusal of a database that is damaged.
const restoreAdvice = "move the directory away and bring the last backup back with caddy device-auth restore; " +
	"docs/troubleshooting.md says more"

// checkManifest refuses a directory with tables or logs and without the list of them:
// Badger would begin an empty database there, without a word.
func (o Options) checkManifest() error {
	_, err := os.Stat(filepath.Join(o.Dir, badger.ManifestFilename))
	if !errors.Is(err, os.ErrNotExist) {
		return nil // Badger says what else is wrong
	}
	for _, suffix := range []string{".sst", ".mem", ".vlog"} {
		if files, _ := filesIn(o.Dir, suffix); len(files) > 0 {
			return fmt.Errorf("badger store: %s has data and no file %s, without which it cannot be read: %s",
				o.Dir, badger.ManifestFilename, restoreAdvice)
		}
	}
	return nil
}

// damagedError is the error of files that Badger cannot read, with its own reason.
func (o Options) damagedError(why error) error {
	cause, _, _ := strings.Cut(why.Error(), "\n") // of a panic, without where it was
	return fmt.Errorf("badger store: %s is damaged: %s: %s", o.Dir, cause, restoreAdvice)
}

// inUse is the error where another process has the directory's lock.
func (o Options) inUse() error {
	return fmt.Errorf("badger store: %s is in use by another process; several gateways need a store that can be shared",
		o.Dir)
}

// explain says what an operator can do about a database that does not open: end the
// other process, give the right key, see to the system's resources, or bring a backup
// back. The last is never advised where the files may be whole.
func (o Options) explain(err error) error {
	switch {
	case err == nil:
		return nil
	case strings.Contains(err.Error(), "Another process is using this Badger database"): // where Badger locks
		return o.inUse()
	case errors.Is(err, badger.ErrEncryptionKeyMismatch):
		return fmt.Errorf("badger store: %s was made with another encryption key, or with none: want the key it "+
			"was made with", o.Dir)
	case isSystemError(err):
		return fmt.Errorf("badger store: opening %s: %w", o.Dir, err)
	}
	return o.damagedError(err)
}

// systemErrors are the system's refusals that say nothing about what is in the files.
var systemErrors = [...]syscall.Errno{
	syscall.EACCES, syscall.EPERM, syscall.EMFILE, syscall.ENFILE, syscall.ENOSPC, syscall.EROFS, syscall.EDQUOT,
	syscall.EIO, syscall.ENOMEM,
}

// isSystemError tells whether an error is the system's own. Badger keeps only the text
// of most errors.
func isSystemError(err error) bool {
	for _, errno := range systemErrors {
		if errors.Is(err, errno) || strings.Contains(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}
