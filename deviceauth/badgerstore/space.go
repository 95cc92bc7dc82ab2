package badgerstore

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Badger maps its logs into memory, and a full disk under such a map is no
// error but the end of the process. So nothing is written where little is left.

// How many bytes are left on the disk where Badger goes on.
const (
	// startReserve is what Badger may take at once: a memtable's log and its table, two value
	// logs, and a table of each level while they are merged. A start needs no more.
	startReserve = 64 << 20
	// othersTake is what others may take of the disk from a look at it until Badger has made
	// the table of a memtable: some 60 ms on a busy machine, and a disk takes 2 GB a second. A
	// small disk, whose tenth is less, is used as far as it can be.
	othersReserve = 128 << 20
)

var errDiskFull = errors.New("badger store: too little is left on the disk, and nothing is written until there is more")

// errReadOnly is what a system makes of a disk that fails.
var errReadOnly = errors.New("badger store: its file system is read-only; nothing is written until it is not")

// space looks at what is left on the disk, not more often than need be.
type space struct {
	present   func() error // is asked every time: it costs a microsecond; nil: there is none to ask
	free      func() (uint64, error)
	size      func() int64 // of the tables; nil: there are none yet
	total     uint64       // the size of the file system; 0: it is not known
	filesLeft func() error // says why Badger may soon be unable to make a file; nil: nobody looks
	tryFile   func() error // the same, by making one

	mu   sync.Mutex
	next time.Time // when to look again
	err  error
}

// spaceCheckInterval lets at most some megabytes be written between two looks, by others than
// Badger too: a disk takes gigabytes in a second.
const spaceCheckInterval = 5 * time.Millisecond

func (s *space) enough() error {
	if s.present != nil {
		if err := s.present(); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		return s.err
	}
	s.next, s.err = now.Add(spaceCheckInterval), nil
	if s.err = s.requireFree(s.reserve() + s.tables()/2); s.err == nil && s.filesLeft != nil {
		s.err = s.filesLeft()
	}
	return s.err
}

// reserve is what each change wants to be left. A large store merges more at a time, so half of
// what its tables take comes on top.
func (s *space) reserve() uint64 {
	if s.total == 0 {
		return startReserve + othersReserve
	}
	return startReserve + min(othersReserve, s.total/10)
}

func (s *space) tables() uint64 {
	if s.size == nil {
		return 0
	}
	return uint64(s.size())
}

// requireFree wants so much to be left. Where nobody can tell, Badger must see for itself.
func (s *space) requireFree(need uint64) error {
	if s.free == nil {
		return nil
	}
	switch left, err := s.free(); {
	case errors.Is(err, errReadOnly):
		return err
	case err == nil && left < need:
		return fmt.Errorf("%w: %d MiB are left, and %d are wanted", errDiskFull, left>>20, need>>20)
	}
	return nil
}
