package badgerdb

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Badger writes to its logs through a memory map. If the file system has no block for what
// is written, the process ends, and checking the free space is not enough if another
// program fills the disk at once. So blocks are preallocated for the WAL that is written
// to, and the next WAL is created before Badger needs it: Badger takes an empty file for a
// new WAL.

// walSize is the size of the file that Badger maps for the WAL of a memtable.
const walSize = 2 * memTable

// A preallocator creates WALs. It is used with writeMu held, or by the only user of the
// database.
type preallocator struct {
	dir      string
	next     int                                 // the WAL that it created last; 0: none
	allocate func(file string, size int64) error // nil: nothing is preallocated
}

// walName returns the name that Badger gives to the WAL of a memtable.
func (p *preallocator) walName(number int) string {
	return filepath.Join(p.dir, fmt.Sprintf("%05d.mem", number))
}

// currentWAL returns the number of the WAL that Badger writes to; 0: there is none.
func (p *preallocator) currentWAL() (number int, err error) {
	names, err := filesIn(p.dir, ".mem")
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".mem")); err == nil {
			number = max(number, n)
		}
	}
	return number, err
}

// ensure makes sure that there is an empty preallocated WAL for Badger to continue with,
// and returns why there is none. It is called before each write. Usually it is one stat: of
// whether the WAL that it created is still empty, which means that Badger does not use it
// yet.
func (p *preallocator) ensure() error {
	if p.allocate == nil {
		return nil
	}
	if p.next > 0 {
		if info, err := os.Stat(p.walName(p.next)); err == nil && info.Size() == 0 {
			return nil
		}
	}
	last, err := p.currentWAL()
	if err != nil {
		return p.allocateError(err)
	}
	if last == 0 {
		return nil // Badger will return its own error
	}
	if last != p.next { // not created by ensure
		if err := p.allocate(p.walName(last), walSize); err != nil {
			return p.allocateError(err)
		}
	}
	if err := p.allocate(p.walName(last+1), walSize); err != nil {
		os.Remove(p.walName(last + 1)) // without blocks it is of no use, and Badger does not need it
		return p.allocateError(err)
	}
	p.next = last + 1
	return nil
}

// allocateError returns the error for a WAL that cannot be preallocated.
func (p *preallocator) allocateError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errDiskFull
	}
	return errNoFile(p.dir, cause(err))
}

// removeUnused removes the preallocated WAL of a closed database, unless Badger has used it.
func (p *preallocator) removeUnused() error {
	if p.next == 0 {
		return nil
	}
	name := p.walName(p.next)
	p.next = 0
	info, err := os.Stat(name)
	if err == nil && info.Size() == 0 {
		err = os.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
