//go:build linux || darwin || freebsd

package badgerstore

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ownLock reports whether the store locks its directory itself, instead of Badger, which
// would take the same lock. The store's lock is also held while the files are verified, and
// while a store is closed and reopened; and its error says why the lock cannot be taken.
const ownLock = true

// lock keeps other processes out until the returned file is closed.
func (o Options) lock() (*os.File, error) {
	dir, err := os.Open(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("badger store: %w", err)
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		dir.Close()
		return nil, o.lockError(err)
	}
	return dir, nil
}

// lockError returns why a lock cannot be taken: another process is only one reason.
func (o Options) lockError(err error) error {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return o.inUse()
	}
	return fmt.Errorf("badger store: %s cannot be locked: %w; its file system has to know locks (flock), "+
		"as NFS does only with its lock service", o.Dir, err)
}
