//go:build linux || darwin || freebsd

package badgerstore

import (
	"errors"

	"golang.org/x/sys/unix"
)

// checkFilesLeft says why Badger may soon find that it cannot make a file: it asks what
// costs some microseconds.
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

// checkDescriptors wants so many descriptors to be free. The system gives the lowest
// one, so where the first of the last ones is free the others are too.
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

// reserveDescriptors takes as many as are wanted, for a moment. It is for a process whose
// limit is not known, or that has descriptors beyond it.
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

// openError tells the lack of file descriptors, of this process (EMFILE) or of the whole
// system (ENFILE), from a directory that cannot be read.
func openError(dir string, err error) error {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return errDescriptors
	}
	return errNoFile(dir, err)
}
