package badgerstore

import (
	"errors"
	"log/slog"
	"strings"
	"time"
)

// A store that is broken is closed and opened again, as soon as files can be made.
// What was answered is in the logs on the disk, which are read again.

// mendEvery is how often it is tried, and mendSeldom how often where it fails though
// files can be made: each failure leaves open what Badger had opened by then.
const (
	mendEvery  = time.Second
	mendSeldom = time.Minute
)

// mend runs until Close, which waits for it.
func (s *Store) mend() {
	for {
		select {
		case <-s.trouble:
			s.reopen()
		case <-s.stop:
			return
		}
	}
}

// reopen tries until the store is open again, or until Close. It waits for the calls that
// were let in, and keeps out all others while Badger is replaced.
func (s *Store) reopen() {
	closed := false
	for wait := mendEvery; ; {
		select {
		case <-s.stop:
			return
		case <-time.After(wait):
		}
		if s.room.makesFiles() != nil || s.room.fits(startReserve) != nil ||
			!s.reads.TryLock() { // calls that have begun end first
			continue
		}
		s.writes.Lock()
		again, err := s.replace(&closed)
		s.writes.Unlock()
		s.reads.Unlock()
		if !again {
			return
		}
		s.log.log(slog.LevelError, "the store in %s cannot be opened again yet: %v", []any{s.dir, err})
		wait = min(2*wait, mendSeldom)
	}
}

// replace opens a new database in the place of the broken one, and says whether to
// try again.
func (s *Store) replace(closed *bool) (again bool, err error) {
	if !*closed {
		*closed = true
		s.merges.closing()
		err = guarded(s.db.Load().Close)
	}
	if err != nil && strings.HasPrefix(err.Error(), panicked) { // some of it still runs
		s.log.log(slog.LevelError, "the store in %s does not close, and stays as it is until Caddy is started anew: %v",
			[]any{s.dir, err})
		return false, nil
	}
	db, err := s.again() // which removes the log that was made ahead
	if errors.Is(err, errUnclosed) {
		s.log.log(slog.LevelError, "the store in %s stays as it is until Caddy is started anew: %v", []any{s.dir, err})
		return false, nil
	}
	if err != nil {
		return true, err
	}
	s.single.Lock()
	s.ahead.next = 0
	s.single.Unlock()
	s.known.clear()
	s.db.Store(db)
	s.log.stuck.Store(0)
	until, err := codesElsewhere(db)
	if err != nil {
		*closed = false
		return true, err
	}
	s.pending.mayBeElsewhere(until)
	s.broken.Store(nil)
	if s.merges.leftOut() { // by a merge of the new one, while the store was broken still
		s.breaks(s.errIncomplete())
	}
	s.log.log(slog.LevelWarn, "the store in %s is open again", []any{s.dir})
	return false, nil
}
