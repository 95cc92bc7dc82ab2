//go:build !linux

package badgerstore

// preallocate is nil: this system preallocates nothing.
var preallocate func(file string, size int64) error
