package badgerstore

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

// Badger writes to its logs as to memory, and a file system without a block for what
// is written ends the process: no look at what is left is soon enough where somebody
// fills a disk at once. So blocks are set aside for the log that is written to, and
// the next log is made ahead of Badger, which takes an empty file for a new one.

// walSize is what Badger maps of a memtable's log.
const walSize = 2 * memTable

// preallocator makes logs. It is used by whoever holds single, or has the store alone.
type preallocator struct {
	dir      string
	next     int                                 // the log that was made last; 0: none was
	allocate func(file string, size int64) error // nil: nothing is made ahead
}

// walName is the name that Badger gives to a memtable's log.
func (p *preallocator) walName(number int) string {
	return filepath.Join(p.dir, fmt.Sprintf("%05d.mem", number))
}

// currentWAL is the number of the log that Badger writes to: it is always there.
func (p *preallocator) currentWAL() (number int, err error) {
	names, err := filesIn(p.dir, ".mem")
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".mem")); err == nil {
			number = max(number, n)
		}
	}
	return number, err
}

// ensure says why there is no log for Badger to go on with, having tried to make one. It
// is called before each write, and asks the file system once: whether the log that was
// made is still empty, that is not taken by Badger.
func (p *preallocator) ensure() error {
	if p.allocate == nil {
		return nil
	}
	if p.next > 0 {
		if about, err := os.Stat(p.walName(p.next)); err == nil && about.Size() == 0 {
			return nil
		}
	}
	last, err := p.currentWAL()
	if err != nil {
		return err
	}
	if last == 0 {
		return nil // Badger has none, and will say why
	}
	if last != p.next { // one that was not made here
		if err := p.allocate(p.walName(last), walSize); err != nil {
			return p.allocateError(err)
		}
	}
	if err := p.allocate(p.walName(last+1), walSize); err != nil {
		os.Remove(p.walName(last + 1)) // without its blocks it is of no use, and in nobody's way
		return p.allocateError(err)
	}
	p.next = last + 1
	return nil
}

// allocateError is the error where no blocks can be set aside.
func (p *preallocator) allocateError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errDiskFull
	}
	return errNoFile(p.dir, cause(err))
}

// removeUnused removes the log that Badger has not taken, of a store that is closed.
func (p *preallocator) removeUnused() error {
	if p.next == 0 {
		return nil
	}
	name := p.walName(p.next)
	p.next = 0
	about, err := os.Stat(name)
	if err == nil && about.Size() == 0 {
		err = os.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
