//go:build linux || darwin || freebsd

package badgerstore

import (
	"errors"

	"golang.org/x/sys/unix"
)

// filesLeft says why Badger may soon find that it cannot make a file: it asks what
// costs some microseconds.
func filesLeft(dir string) error {
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
	return descriptorsLeft(dir)
}

// descriptorsLeft wants so many descriptors to be free. The system gives the lowest
// one, so where the first of the last ones is free the others are too.
func descriptorsLeft(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return unopened(dir, err)
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
	return countDescriptors(dir, fd)
}

// countDescriptors takes as many as are wanted, for a moment. It is for a process whose
// limit is not known, or that has descriptors beyond it.
func countDescriptors(dir string, fd int) (err error) {
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
		return unopened(dir, err)
	}
	return nil
}

// unopened tells the lack of file descriptors, of this process (EMFILE) or of the whole
// system (ENFILE), from a directory that cannot be read.
func unopened(dir string, err error) error {
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return errDescriptors
	}
	return errNoFile(dir, err)
}
