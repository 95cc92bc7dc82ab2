package deviceclient

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// tryLock tries to lock the file with LockFileEx, and does not wait. Locking one byte
// is enough, which Windows permits even beyond the end of an empty file.
func tryLock(file *os.File) (held bool, err error) {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err = windows.LockFileEx(windows.Handle(file.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return false, nil
	}
	return err == nil, err
}
