//go:build linux || darwin || freebsd

package badgerstore

import "syscall"

// readOnly is ST_RDONLY, or MNT_RDONLY.
const readOnly = 1

// diskSize returns the size in bytes of the file system of a directory; 0: unknown.
func diskSize(dir string) uint64 {
	var s syscall.Statfs_t
	if syscall.Statfs(dir, &s) != nil {
		return 0
	}
	return uint64(s.Blocks) * uint64(s.Bsize)
}

// freeSpace returns the number of bytes that this process may still write.
func freeSpace(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	if s.Flags&readOnly != 0 {
		return 0, errReadOnly
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}
