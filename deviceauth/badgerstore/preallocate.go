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

// logSize is what Badger maps of a memtable's log.
const logSize = 2 * memTable

// ahead makes logs. It is used by whoever holds single, or has the store alone.
type ahead struct {
	dir  string
	next int                                 // the log that was made last; 0: none was
	set  func(file string, size int64) error // nil: nothing is made ahead
}

// file is the name that Badger gives to a memtable's log.
func (a *ahead) file(number int) string { return filepath.Join(a.dir, fmt.Sprintf("%05d.mem", number)) }

// last is the number of the log that Badger writes to: it is always there.
func (a *ahead) last() (number int, err error) {
	names, err := filesIn(a.dir, ".mem")
	for _, name := range names {
		if n, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(name), ".mem")); err == nil {
			number = max(number, n)
		}
	}
	return number, err
}

// ready says why there is no log for Badger to go on with, having tried to make one. It
// is called before each write, and asks the file system once: whether the log that was
// made is still empty, that is not taken by Badger.
func (a *ahead) ready() error {
	if a.set == nil {
		return nil
	}
	if a.next > 0 {
		if about, err := os.Stat(a.file(a.next)); err == nil && about.Size() == 0 {
			return nil
		}
	}
	last, err := a.last()
	if err != nil {
		return err
	}
	if last == 0 {
		return nil // Badger has none, and will say why
	}
	if last != a.next { // one that was not made here
		if err := a.set(a.file(last), logSize); err != nil {
			return a.unset(err)
		}
	}
	if err := a.set(a.file(last+1), logSize); err != nil {
		os.Remove(a.file(last + 1)) // without its blocks it is of no use, and in nobody's way
		return a.unset(err)
	}
	a.next = last + 1
	return nil
}

// unset is the error where no blocks can be set aside.
func (a *ahead) unset(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return errDiskFull
	}
	return errNoFile(a.dir, cause(err))
}

// drop removes the log that Badger has not taken, of a store that is closed.
func (a *ahead) drop() error {
	if a.next == 0 {
		return nil
	}
	name := a.file(a.next)
	a.next = 0
	about, err := os.Stat(name)
	if err == nil && about.Size() == 0 {
		err = os.Remove(name)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
