package badgerstore

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// preallocate makes a file, where it is not there, and has its file system set so many
// bytes aside for it, which leaves its length alone. A file system that cannot do
// that is left to the looks at what is left.
func preallocate(file string, size int64) error {
	fd, err := unix.Open(file, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &fs.PathError{Op: "open", Path: file, Err: err}
	}
	defer unix.Close(fd)
	if err := fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, size); err != nil {
		return &fs.PathError{Op: "fallocate", Path: file, Err: err}
	}
	return nil
}
