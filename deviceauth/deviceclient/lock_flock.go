//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris

package deviceclient

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock locks the file by flock, and does not wait. An interrupted call is
// tried again by the caller.
func tryLock(file *os.File) (held bool, err error) {
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err == nil, err
}
