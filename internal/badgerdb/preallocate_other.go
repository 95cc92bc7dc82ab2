//go:build !linux

package badgerdb

// preallocate is nil: this system preallocates nothing.
var preallocate func(file string, size int64) error

// checkPreallocation returns nil: no blocks are allocated here.
func checkPreallocation() error { return nil }
