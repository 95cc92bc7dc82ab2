package badgerstore

import (
	"errors"
	"log/slog"
	"strings"
	"time"
)

// A broken store is closed and opened again as soon as files can be created. All changes
// that were answered are in the WALs on the disk, which Badger reads again.

// reopenDelay is the time between attempts. It grows up to maxReopenDelay if they fail
// although files can be created: each failure leaks what Badger had opened by then.
const (
	reopenDelay    = time.Second
	maxReopenDelay = time.Minute
)

// reopenLoop runs until Close, which waits for it.
func (s *Store) reopenLoop() {
	for {
		select {
		case <-s.reopenNeeded:
			s.reopen()
		case <-s.stop:
			return
		}
	}
}

// reopen retries until the store is open again, or until Close. It waits for calls that
// have begun, and blocks all others while the database is replaced.
func (s *Store) reopen() {
	closed := false
	for wait := reopenDelay; ; {
		select {
		case <-s.stop:
			return
		case <-time.After(wait):
		}
		if s.room.canMakeFiles() != nil || s.room.requireFree(startReserve) != nil ||
			!s.openMu.TryLock() { // calls that have begun end first
			continue
		}
		s.rotateMu.Lock()
		retry, err := s.replaceDB(&closed)
		s.rotateMu.Unlock()
		s.openMu.Unlock()
		if !retry {
			return
		}
		s.log.log(slog.LevelError, "the store in %s cannot be opened again yet: %v", []any{s.dir, err})
		wait = min(2*wait, maxReopenDelay)
	}
}

// replaceDB closes the broken database and opens a new one in its place. It reports whether
// to retry.
func (s *Store) replaceDB(closed *bool) (retry bool, err error) {
	if !*closed {
		*closed = true
		s.compactions.prepareClose()
		err = catchPanics(s.db.Load().Close)
	}
	if err != nil && strings.HasPrefix(err.Error(), panicPrefix) { // a part of it still runs
		s.log.log(slog.LevelError, "the store in %s does not close, and stays as it is until Caddy is started anew: %v",
			[]any{s.dir, err})
		return false, nil
	}
	db, err := s.openDB() // removes the preallocated WAL
	if errors.Is(err, errNotClosed) {
		s.log.log(slog.LevelError, "the store in %s stays as it is until Caddy is started anew: %v", []any{s.dir, err})
		return false, nil
	}
	if err != nil {
		return true, err
	}
	s.writeMu.Lock()
	s.prealloc.next = 0
	s.writeMu.Unlock()
	s.cache.clear()
	s.db.Store(db)
	s.log.flushFailedAt.Store(0)
	until, err := codesOnDisk(db)
	if err != nil {
		*closed = false
		return true, err
	}
	s.pending.noteCodesOnDisk(until)
	s.broken.Store(nil)
	if s.compactions.hasIncomplete() { // by a compaction of the new database, before broken was cleared
		s.markBroken(s.errIncomplete())
	}
	s.log.log(slog.LevelWarn, "the store in %s is open again", []any{s.dir})
	return false, nil
}
