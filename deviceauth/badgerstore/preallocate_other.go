//go:build !linux

package badgerstore

// setAside is nil: nothing is made ahead here.
var setAside func(file string, size int64) error
