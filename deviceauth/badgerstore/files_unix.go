//go:build linux || darwin || freebsd

package badgerstore

import (
	"errors"

	"golang.org/x/sys/unix"
)

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
