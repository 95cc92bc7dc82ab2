//go:build linux || darwin || freebsd

package badgerstore

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ownLock tells that a directory is locked here, and not by Badger, which takes the
// same lock. Here it is held while the files are looked through, and while a store is
// closed and opened again, and here the reason why it cannot be had is known.
const ownLock = true

// lock keeps other processes out until the file that it returns is closed.
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

// lockError says why a lock cannot be had: only one reason is another process.
func (o Options) lockError(err error) error {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return o.inUse()
	}
	return fmt.Errorf("badger store: %s cannot be locked: %w; its file system has to know locks (flock), "+
		"as NFS does only with its lock service", o.Dir, err)
}
