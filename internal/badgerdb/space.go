package badgerdb

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Badger maps its logs into memory. Writing to such a map on a full disk is not an error
// but ends the process. So nothing is written when little space is left. That alone is not
// enough, since other programs write, too: preallocate.go has the rest.

// Free bytes that the disk must have for Badger to continue.
const (
	// startReserve is what Badger may need at once: the WAL and the table of a memtable,
	// two value log files, and a table of each level during a compaction. A start needs no
	// more.
	startReserve = 64 << 20
	// othersReserve is what other programs may write between a check of the free space and
	// the end of a memtable's flush: some 60 ms on a busy machine, and a disk takes 2 GB a
	// second. On a small disk it is a tenth of the disk, so that the disk can be used as
	// far as possible.
	othersReserve = 128 << 20
)

var errDiskFull = errors.New("badger store: too little is left on the disk, and nothing is written until there is more")

// errReadOnly is returned for a file system that the kernel has made read-only after an
// error.
var errReadOnly = errors.New("badger store: its file system is read-only; nothing is written until it is not")

// space checks the free space of the disk, but not more often than necessary.
type space struct {
	present   func() error // called at every check, as it costs a microsecond
	free      func() (uint64, error)
	size      func() int64 // of the tables of an open database
	total     uint64       // the size of the file system; 0: unknown
	filesLeft func() error // returns why files can perhaps not be created soon
	tryFile   func() error // the same, by creating one

	mu   sync.Mutex
	next time.Time // of the next check
	err  error
}

// newSpace returns the checks of a directory. size returns the size of its tables.
func newSpace(dir string, size func() int64) (*space, error) {
	present, err := dirPresence(dir)
	return &space{
		present: present, free: func() (uint64, error) { return freeSpace(dir) }, size: size, total: diskSize(dir),
		filesLeft: func() error { return checkFilesLeft(dir) }, tryFile: func() error { return tryMakeFile(dir) },
	}, err
}

// CheckInterval is the time for which a check of the disk is valid. A disk takes gigabytes
// in a second, so at most some megabytes are written meanwhile, by other programs too.
const CheckInterval = 5 * time.Millisecond

// enough returns why a change must not be written now, or nil.
func (s *space) enough() error {
	if err := s.present(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		return s.err
	}
	s.next, s.err = now.Add(CheckInterval), nil
	if s.err = s.requireFree(s.reserve() + s.tables()/2); s.err == nil {
		s.err = s.filesLeft()
	}
	return s.err
}

// reserve is the free space that each change needs. A large database compacts more at a time,
// so enough adds half of the size of its tables.
func (s *space) reserve() uint64 {
	if s.total == 0 {
		return startReserve + othersReserve
	}
	return startReserve + min(othersReserve, s.total/10)
}

func (s *space) tables() uint64 { return uint64(s.size()) }

// requireFree returns an error if less than need bytes are free. If the free space is
// unknown, it returns nil.
func (s *space) requireFree(need uint64) error {
	switch left, err := s.free(); {
	case errors.Is(err, errReadOnly):
		return err
	case err == nil && left < need:
		return fmt.Errorf("%w: %d MiB are left, and %d are wanted", errDiskFull, left>>20, need>>20)
	}
	return nil
}
