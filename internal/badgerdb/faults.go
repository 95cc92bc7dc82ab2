package badgerdb

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger ends the process in states that it considers impossible, such as being without a
// memtable because no file could be created for one. So nothing is written when Badger is
// in such a state, or close to it.

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

// Writable returns why nothing may be written now, or nil: the database is being reopened,
// Badger cannot flush a memtable, the directory is gone, or the disk is nearly full. The
// disk is checked at most every [CheckInterval].
func (d *DB) Writable() error {
	if why := d.broken.Load(); why != nil {
		return *why
	}
	if d.ended.Load() {
		return wrap(badger.ErrDBClosed)
	}
	if since := time.Now().UnixNano() - d.log.flushFailedAt.Load(); since >= 0 && since < int64(flushRetryTime) {
		return fmt.Errorf("badger store: what is in memory cannot be written to a table in %s, which the log says "+
			"more of; nothing more is taken until it can be", d.o.Dir)
	}
	return d.room.enough()
}

// IsBroken reports whether nothing can be read or written until the database is open again.
// It is opened again by itself, but not after Close has been called.
func (d *DB) IsBroken() bool { return d.broken.Load() != nil }

// flushRetryTime is longer than Badger's pause between two attempts to flush a memtable.
// Badger accepts two more memtables meanwhile, and then blocks writers.
const flushRetryTime = 3 * time.Second

// Parts of Badger's errors after which its next write would end the process: it has no
// memtable, or no value log but a closed one, because no file could be created.
const (
	noMemtable = "cannot create new mem table"
	noValueLog = ".vlog"
)

// checkBroken returns err. If Badger must not be used after err, it marks the database as
// broken and returns the error that calls get until then.
func (d *DB) checkBroken(err error) error {
	if err == nil || !strings.Contains(err.Error(), noMemtable) && !strings.Contains(err.Error(), noValueLog) {
		return err
	}
	why := fmt.Errorf("badger store: %s is not asked until it can be opened again: %s", d.o.Dir,
		strings.ReplaceAll(err.Error(), "\n", "; "))
	if d.markBroken(why) {
		d.log.log(slog.LevelError, "%v", why)
	}
	return why
}

// markBroken has the database reopened. Until it is open again, why is the error of every
// call. It reports false if the database is broken already.
func (d *DB) markBroken(why error) bool {
	first := d.broken.CompareAndSwap(nil, &why)
	if first {
		d.reopenNeeded <- struct{}{} // never blocks: reopenLoop took the previous one before broken was cleared
	}
	return first
}

// catchPanics runs fn, which reads memory-mapped files, and returns a panic as an error. If
// the disk has lost such a file, reading it is a fault, which would end the process. Panics
// in goroutines of this package would end it, too.
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

// isPanic reports whether an error is that of a panic which catchPanics has caught.
func isPanic(err error) bool { return err != nil && strings.HasPrefix(err.Error(), panicPrefix) }
