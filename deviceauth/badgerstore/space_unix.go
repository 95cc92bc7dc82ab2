//go:build linux || darwin || freebsd

package badgerstore

import "syscall"

// spaceLeft is what this process may still write, in bytes.
func spaceLeft(dir string) (uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}
