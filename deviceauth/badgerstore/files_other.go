//go:build !(linux || darwin || freebsd)

package badgerstore

// checkFilesLeft knows nothing here; that a file can be made is tried out.
func checkFilesLeft(string) error { return nil }
