package badgerstore

import (
	"errors"
	"sync"
	"time"
)

// Badger maps its logs into memory, and a full disk under such a map is no
// error but the end of the process. So nothing is written where little is left.

// reserve is what Badger may take at once: a memtable's log and its table, two
// value logs, and a table of each level while they are merged.
const reserve = 64 << 20

var errDiskFull = errors.New("badger store: less than 64 MiB are left on the disk; nothing is written until there is more")

// space looks at what is left on the disk, not more often than need be.
type space struct {
	left func() (uint64, error)

	mu   sync.Mutex
	next time.Time // when to look again
	err  error
}

// lookEvery lets at most some megabytes be written between two looks.
const lookEvery = 100 * time.Millisecond

func (s *space) enough() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		return s.err
	}
	s.next, s.err = now.Add(lookEvery), nil
	left, err := s.left()
	if err == nil && left < reserve {
		s.err = errDiskFull
	}
	return s.err // where nobody can tell what is left, Badger must see for itself
}
