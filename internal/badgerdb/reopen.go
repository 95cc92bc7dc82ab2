package badgerdb

import (
	"errors"
	"log/slog"
	"time"
)

// A broken database is closed and opened again as soon as files can be created. All changes
// that were answered are in the WALs on the disk, which Badger reads again.

// reopenDelay is the time between attempts. It grows up to maxReopenDelay if they fail
// although files can be created: each failure leaks what Badger had opened by then.
const (
	reopenDelay    = time.Second
	maxReopenDelay = time.Minute
)

// reopenLoop runs until Close, which waits for it.
func (d *DB) reopenLoop() {
	for {
		select {
		case <-d.reopenNeeded:
			d.reopen()
		case <-d.stop:
			return
		}
	}
}

// reopen retries until the database is open again, or until Close. It waits for calls that
// have begun, and blocks all others while the database is replaced.
func (d *DB) reopen() {
	closed := false
	for wait := reopenDelay; ; {
		select {
		case <-d.stop:
			return
		case <-time.After(wait):
		}
		if d.room.canMakeFiles() != nil || d.room.requireFree(startReserve) != nil ||
			!d.openMu.TryLock() { // calls that have begun end first
			continue
		}
		d.rotateMu.Lock()
		retry, err := d.replaceDB(&closed)
		d.rotateMu.Unlock()
		d.openMu.Unlock()
		if !retry {
			return
		}
		d.log.log(slog.LevelError, "the store in %s cannot be opened again yet: %v", d.o.Dir, err)
		wait = min(2*wait, maxReopenDelay)
	}
}

// replaceDB closes the broken database and opens a new one in its place. It reports whether
// to retry.
func (d *DB) replaceDB(closed *bool) (retry bool, err error) {
	if !*closed {
		*closed = true
		d.compactions.prepareClose()
		err = catchPanics(d.db.Load().Close)
	}
	if isPanic(err) { // a part of it still runs
		d.log.log(slog.LevelError, "the store in %s does not close, and stays as it is until Caddy is started anew: %v",
			d.o.Dir, err)
		return false, nil
	}
	err = d.open() // removes the preallocated WAL
	if errors.Is(err, errNotClosed) {
		d.log.log(slog.LevelError, "the store in %s stays as it is until Caddy is started anew: %v", d.o.Dir, err)
		return false, nil
	}
	if err != nil {
		return true, err
	}
	d.broken.Store(nil)
	if d.compactions.hasIncomplete() { // by a compaction of the new database, before broken was cleared
		d.markBroken(d.errIncomplete())
	}
	d.log.log(slog.LevelWarn, "the store in %s is open again", d.o.Dir)
	return false, nil
}
