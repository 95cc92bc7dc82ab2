package badgerstore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Badger ends the process in states that it considers impossible, such as being without a
// memtable because no file could be created for one. So the store stops writing when Badger
// is in such a state, or close to it.

// dirPresence returns a function that checks that dir is still the same directory. After an
// unmount another directory is in its place, in which a write would be lost.
func dirPresence(dir string) (func() error, error) {
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

// writable returns why nothing may be written now, or nil: the store is being reopened,
// Badger cannot flush a memtable, or the disk is nearly full.
func (s *Store) writable() error {
	if why := s.broken.Load(); why != nil {
		return *why
	}
	if since := time.Now().UnixNano() - s.log.flushFailedAt.Load(); since >= 0 && since < int64(flushRetryTime) {
		return fmt.Errorf("badger store: what is in memory cannot be written to a table in %s, which the log says "+
			"more of; nothing more is taken until it can be", s.dir)
	}
	return s.room.enough()
}

// flushRetryTime is longer than Badger's pause between two attempts to flush a memtable.
// Badger accepts two more memtables meanwhile, and then blocks writers.
const flushRetryTime = 3 * time.Second

// Parts of Badger's errors after which its next write would end the process: it has no
// memtable, or no value log but a closed one, because no file could be created.
const (
	noMemtable = "cannot create new mem table"
	noValueLog = ".vlog"
)

// checkBroken returns err. If Badger must not be used after err, it marks the store as
// broken and returns the error that calls get until then.
func (s *Store) checkBroken(err error) error {
	if err == nil || !strings.Contains(err.Error(), noMemtable) && !strings.Contains(err.Error(), noValueLog) {
		return err
	}
	why := fmt.Errorf("badger store: %s is not asked until it can be opened again: %s", s.dir,
		strings.ReplaceAll(err.Error(), "\n", "; "))
	if s.markBroken(why) {
		s.log.log(slog.LevelError, "%v", []any{why})
	}
	return why
}

// markBroken has the store reopened. Until it is open again, why is the error of every
// call. It reports false if the store is broken already.
func (s *Store) markBroken(why error) bool {
	first := s.broken.CompareAndSwap(nil, &why)
	if first {
		s.reopenNeeded <- struct{}{} // never blocks: reopenLoop took the previous one before broken was cleared
	}
	return first
}

// catchPanics runs fn, which reads memory-mapped files, and returns a panic as an error. If
// the disk has lost such a file, reading it is a fault, which would end the process. Panics
// in the store's own goroutines would end it, too.
func catchPanics(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf(panicPrefix+"%v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// panicPrefix begins the error of a panic that catchPanics has caught.
const panicPrefix = "panic: "

// wrap marks an error as the store's, except those that the contract of the store names.
func wrap(err error) error {
	if err == nil || errors.Is(err, deviceauth.ErrNotFound) || errors.Is(err, deviceauth.ErrExists) {
		return err
	}
	return fmt.Errorf("badger store: %w", err)
}
