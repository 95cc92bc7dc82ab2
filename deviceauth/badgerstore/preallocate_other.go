//go:build !linux

package badgerstore

// preallocate is nil: nothing is made ahead here.
var preallocate func(file string, size int64) error
