//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || solaris || windows)

package deviceclient

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// tryLock returns an error, so that no tokens are stored on this system: without a
// lock two processes could use the same refresh token, which looks like theft.
func tryLock(*os.File) (held bool, err error) {
	return false, fmt.Errorf("%s has no lock that this program knows, so no token can be kept: %w", runtime.GOOS,
		errors.ErrUnsupported)
}
