package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// closeTime is how long Close waits. On a disk that fails, Badger retries flushing its
// memtables for ever, and a stop must not wait for that: what was answered has been synced,
// and the next start reads it again.
const closeTime = 3 * time.Second

// Close implements [deviceauth.Store]. It takes 3 s at most: a store that does not close in
// that time is given up, with an error and a line in the log.
func (s *Store) Close() (err error) {
	s.closeOnce.Do(func() { err = s.closeWithin(closeTime) })
	return err
}

func (s *Store) closeWithin(limit time.Duration) error {
	if err := s.room.present(); err != nil {
		close(s.stop)
		return s.giveUp(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- s.shut() }()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case err := <-closed:
		return err
	case <-timeout.C:
	}
	if err := s.room.present(); err != nil {
		return s.giveUp(err)
	}
	return s.giveUp(fmt.Errorf("badger store: %s does not close within %v: "+
		"what was answered is on its disk if that works, and the next start reads it again", s.dir, limit))
}

// giveUp leaves Badger's goroutines running until the process ends.
func (s *Store) giveUp(why error) error {
	s.log.log(slog.LevelError, "the store is given up: %v", []any{why})
	s.log.quiet.Store(true)
	return why
}

// closeWhole is Close for a command, such as restore, which waits as long as it takes.
func (s *Store) closeWhole() (err error) {
	s.closeOnce.Do(func() { err = s.shut() })
	return err
}

// shut closes the store: no new call is accepted, the committer writes the pending grants,
// readers finish, and then Badger closes. The lock of the directory is released last, so
// that no other process opens the directory before.
func (s *Store) shut() error {
	close(s.stop)
	<-s.done
	s.tidying.Wait()
	s.openMu.Lock()
	defer s.openMu.Unlock()
	s.rotateMu.Lock()
	defer s.rotateMu.Unlock()
	s.compactions.prepareClose()
	err := errors.Join(catchPanics(s.db.Load().Close), s.prealloc.removeUnused())
	s.pending.drop()
	if s.lock != nil {
		s.lock.Close()
	}
	return err
}
