//go:build !(linux || darwin || freebsd)

package badgerstore

import "errors"

func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }

func diskSize(string) uint64 { return 0 }
