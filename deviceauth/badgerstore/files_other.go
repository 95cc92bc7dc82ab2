//go:build !(linux || darwin || freebsd)

package badgerstore

// filesLeft knows nothing here; that a file can be made is tried out.
func filesLeft(string) error { return nil }
