//go:build !(linux || darwin || freebsd)

package badgerstore

import "errors"

func spaceLeft(string) (uint64, error) { return 0, errors.ErrUnsupported }

func sizeOfDisk(string) uint64 { return 0 }
