//go:build !(linux || darwin || freebsd)

package badgerdb

import (
	"errors"
	"os"
)

// ownLock reports whether this package locks the directory; here Badger does.
const ownLock = false

func (Options) lock() (*os.File, error) { return nil, nil }

func freeSpace(string) (uint64, error) { return 0, errors.ErrUnsupported }

func diskSize(string) uint64 { return 0 }

// checkFilesLeft returns nil: on this system, only tryMakeFile checks.
func checkFilesLeft(string) error { return nil }
