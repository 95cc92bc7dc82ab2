package badgerstore

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// preallocate creates a file, unless it exists, and has the file system reserve size bytes
// for it, without a change of its length. On a file system that cannot reserve blocks, only
// the checks of the free space protect the store.
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
