package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"
)

// Badger ends the process where it finds itself in a state that it holds for
// impossible, such as to have no memtable, because no file could be made for one.
// So nothing is written to a store that has got there, or is about to.

// presence returns what tells that a directory is still the one it is now.
func presence(dir string) (func() error, error) {
	before, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("badger store: %w", err)
	}
	gone := fmt.Errorf("badger store: %s is gone, and with it what was kept there; "+
		"nothing is written until it is back, or Caddy is started anew", dir)
	return func() error {
		now, err := os.Stat(dir)
		if errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(before, now) {
			return gone
		}
		return nil
	}, nil
}

// writable says why nothing may be written now.
func (s *Store) writable() error {
	if why := s.broken.Load(); why != nil {
		return *why
	}
	return s.room.enough()
}

// noMemtable is Badger's word for the failure after which the next write would
// end the process: no file could be made, for lack of a file descriptor, an inode
// or the right to write there.
const noMemtable = "cannot create new mem table"

// noted keeps in mind an error after which Badger must not be asked any more, and
// has it opened again.
func (s *Store) noted(err error) error {
	if err == nil || !strings.Contains(err.Error(), noMemtable) {
		return err
	}
	why := fmt.Errorf("badger store: %s is not asked until it can be opened again: %w", s.dir, err)
	if s.broken.CompareAndSwap(nil, &why) {
		s.log.log(slog.LevelError, "%v", []any{why})
		s.tidying.Go(s.heal)
	}
	return err
}

// healEvery is how often a store that is broken is tried.
const healEvery = time.Second

// heal closes a broken store, and opens it again as soon as that can be done. What
// was answered is in the logs on the disk, which are read again. Close ends it.
func (s *Store) heal() {
	s.reads.Lock() // whoever was let in has ended; who comes now hears why not
	s.writes.Lock()
	err := guarded(s.db.Load().Close)
	s.writes.Unlock()
	s.reads.Unlock()
	if err != nil {
		s.log.log(slog.LevelWarn, "closing the broken store: %v", []any{err})
	}
	for tick := time.Tick(healEvery); ; {
		select {
		case <-s.stop:
			return
		case <-tick:
		}
		if s.room.enough() != nil {
			continue
		}
		db, err := s.again()
		if err != nil {
			continue // the log said why at the beginning
		}
		s.reads.Lock()
		s.writes.Lock()
		s.db.Store(db)
		s.broken.Store(nil)
		s.writes.Unlock()
		s.reads.Unlock()
		s.log.log(slog.LevelWarn, "the store in %s is open again", []any{s.dir})
		return
	}
}

// guarded runs what looks into files that are mapped into memory. Where the disk
// has lost them that is a fault, which ends the process unless it is caught; and
// so is any panic in a goroutine of the store's own.
func guarded(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}
