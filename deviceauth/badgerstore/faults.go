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

// Badger ends the process where it finds itself in a state that it holds for
// impossible, such as to have no memtable, because no file could be made for one.
// So nothing is written to a store that has got there, or is about to.

// dirPresence returns what tells that a directory is still the one it is now. A volume that
// was unmounted leaves another directory in its place, in which a write would be lost.
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

// writable says why nothing may be written now: the store is being mended, Badger cannot
// write its memory to a table, or the disk is nearly full. nil: nothing stands against it.
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

// flushRetryTime is longer than Badger takes from one failure to write memory to a table to
// the next. It takes two more memtables meanwhile, and then lets whoever writes wait.
const flushRetryTime = 3 * time.Second

// What Badger says of failures after which its next write would end the process: it
// has no memtable, or none but a closed value log, because no file could be made.
const (
	noMemtable = "cannot create new mem table"
	noValueLog = ".vlog"
)

// checkBroken keeps in mind an error after which Badger must not be asked any more, and
// has it opened again.
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

// markBroken has the store opened again, unless it is about to be, and reports whether it is
// the first to say so. Until then why is the error of every call.
func (s *Store) markBroken(why error) bool {
	first := s.broken.CompareAndSwap(nil, &why)
	if first {
		s.reopenNeeded <- struct{}{} // there is room: the one before was taken before broken was nil again
	}
	return first
}

// catchPanics runs what looks into files that are mapped into memory. Where the disk
// has lost them that is a fault, which ends the process unless it is caught; and
// so is any panic in a goroutine of the store's own.
func catchPanics(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf(panicPrefix+"%v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

// panicPrefix begins the error of what guarded has caught.
const panicPrefix = "panic: "

// wrap adds where a fault is from; what the contract names stays as it is.
func wrap(err error) error {
	if err == nil || errors.Is(err, deviceauth.ErrNotFound) || errors.Is(err, deviceauth.ErrExists) {
		return err
	}
	return fmt.Errorf("badger store: %w", err)
}
