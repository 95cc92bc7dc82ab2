package badgerdb

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Close calls last, which may still write, waits for readers, and closes the database; nil:
// there is nothing more to write. Calls of other methods are errors afterwards. Meanwhile a
// broken database is not opened again, so that last should end; see [DB.IsBroken]. The lock
// of the directory is released last, so that no other process opens the directory before.
//
// On a disk that fails, Badger retries flushing its memtables for ever, and the end of a
// process must not wait for that: what was answered has been synced, and the next Open
// reads it again. So a database that is not closed within limit is given up, with an error
// and a line in the log, and at once if its directory is gone. last may still be running
// then, and what it writes is written if the disk takes it. limit 0: there is none.
func (d *DB) Close(limit time.Duration, last func()) (err error) {
	if last == nil {
		last = func() {}
	}
	d.closeOnce.Do(func() {
		if limit == 0 {
			err = d.shut(last)
		} else {
			err = d.closeWithin(limit, last)
		}
	})
	return err
}

func (d *DB) closeWithin(limit time.Duration, last func()) error {
	if err := d.room.present(); err != nil {
		close(d.stop)
		go func() { last(); d.ended.Store(true) }()
		return d.giveUp(err)
	}
	closed := make(chan error, 1)
	go func() { closed <- d.shut(last) }()
	timeout := time.NewTimer(limit)
	defer timeout.Stop()
	select {
	case err := <-closed:
		return err
	case <-timeout.C:
	}
	if err := d.room.present(); err != nil {
		return d.giveUp(err)
	}
	return d.giveUp(fmt.Errorf("badger store: %s does not close within %v: "+
		"what was answered is on its disk if that works, and the next start reads it again", d.o.Dir, limit))
}

// giveUp leaves Badger's goroutines running until the process ends. Readers are refused:
// what the caller of Close kept in memory may be gone.
func (d *DB) giveUp(why error) error {
	d.closed.Store(true)
	d.log.log(slog.LevelError, "the store is given up: %v", why)
	d.log.quiet.Store(true)
	return why
}

// shut closes the database, however long it takes.
func (d *DB) shut(last func()) error {
	close(d.stop)
	last()
	d.closed.Store(true)
	d.ended.Store(true)
	d.loops.Wait()
	d.openMu.Lock()
	defer d.openMu.Unlock()
	d.rotateMu.Lock()
	defer d.rotateMu.Unlock()
	d.compactions.prepareClose()
	err := errors.Join(catchPanics(d.db.Load().Close), d.prealloc.removeUnused())
	if d.lock != nil {
		d.lock.Close()
	}
	return err
}
