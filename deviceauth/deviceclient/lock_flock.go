//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris

package deviceclient

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// tryLock tries to lock the file with flock, and does not wait. The caller retries an
// interrupted call.
func tryLock(file *os.File) (held bool, err error) {
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	return err == nil, err
}
