//go:build linux || darwin || freebsd

package badgerdb

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// What the system says of a directory: whether another process uses it, how much may be
// written to it, and how many files can be created in it.

// ownLock reports whether this package locks the directory itself, instead of Badger, which
// would take the same lock. It holds the lock also while the files are verified, and while
// the database is closed and reopened; and its error says why the lock cannot be taken.
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

// readOnly is ST_RDONLY, or MNT_RDONLY.
const readOnly = 1

// diskSize returns the size in bytes of the file system of a directory; 0: unknown.
func diskSize(dir string) uint64 {
	var s unix.Statfs_t
	if unix.Statfs(dir, &s) != nil {
		return 0
	}
	return uint64(s.Blocks) * uint64(s.Bsize)
}

// freeSpace returns the number of bytes that this process may still write.
func freeSpace(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	if s.Flags&readOnly != 0 {
		return 0, errReadOnly
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}

// checkFilesLeft returns why Badger may soon be unable to create a file, or nil. It makes
// only calls that cost some microseconds.
func checkFilesLeft(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return errNoFile(dir, err)
	}
	if s.Files > 0 && uint64(s.Ffree) < spareFiles { // some file systems count none
		return errInodes
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return errNoFile(dir, err)
	}
	return checkDescriptors(dir)
}

// checkDescriptors returns an error unless spareFiles descriptors are free. The system
// assigns the lowest free one, so if the lowest of the last spareFiles is free, the others
// are too.
func checkDescriptors(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return openError(dir, err)
	}
	defer unix.Close(fd)
	var most unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &most) == nil && most.Cur > spareFiles && most.Cur < 1<<30 {
		first := int(most.Cur) - spareFiles
		if got, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, first); err == nil {
			unix.Close(got)
			if got == first {
				return nil
			}
		}
	}
	return reserveDescriptors(dir, fd)
}

// reserveDescriptors opens spareFiles descriptors and closes them again. It is for a
// process whose limit is unknown, or that has descriptors beyond its limit.
func reserveDescriptors(dir string, fd int) (err error) {
	var taken []int
	for len(taken) < spareFiles && err == nil {
		var got int
		if got, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0); err == nil {
			taken = append(taken, got)
		}
	}
	for _, got := range taken {
		unix.Close(got)
	}
	if err != nil {
		return openError(dir, err)
	}
	return nil
}

// openError distinguishes a lack of file descriptors, of this process (EMFILE) or of the
// whole system (ENFILE), from a directory that cannot be read.
func openError(dir string, err error) error {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return errDescriptors
	}
	return errNoFile(dir, err)
}
