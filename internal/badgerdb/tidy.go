package badgerdb

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger drops an expired record when the table that it is in is compacted, which in a
// quiet database may never happen. So once a day everything is compacted: junk, from the first
// key to the last, is written until there are so many new tables that Badger compacts them
// with all tables that they overlap.

// tidyEvery is how much longer than needed a record may stay on the disk.
const tidyEvery = 24 * time.Hour

// tidyFirst is the time from the start to the first run: short, for servers that are
// restarted every day, but not during the start itself.
const tidyFirst = 15 * time.Minute

// tidyLoop runs until Close, which waits for it.
func (d *DB) tidyLoop() {
	next := time.NewTimer(tidyFirst)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			catchPanics(d.dropExpired) // best effort: the next run removes the rest
			next.Reset(tidyEvery)
		case <-d.stop:
			return
		}
	}
}

// dropExpired compacts all tables, so that no expired record is left. It returns an error
// if the disk lacks the space for all of them twice.
func (d *DB) dropExpired() error {
	d.openMu.RLock() // keeps the database open
	defer d.openMu.RUnlock()
	if err := d.Writable(); err != nil {
		return err
	}
	// Everything is written once more before the old tables are dropped, and the junk too.
	if err := d.room.requireFree(d.room.reserve() + 2*d.room.tables() + maxJunkTables*2*memTable); err != nil {
		return err
	}
	for range maxJunkTables {
		select {
		case <-d.stop:
			return nil
		default:
		}
		tables := d.db.Load().Levels()[0].NumTables
		if err := d.writeJunkTable(tables); err != nil {
			return err
		}
		if d.db.Load().Levels()[0].NumTables <= tables {
			break // they have been compacted
		}
	}
	if err := d.db.Load().Flatten(1); err != nil {
		return err
	}
	return d.runValueLogGC()
}

// runValueLogGC has Badger rewrite each value log file of which most is not needed any
// more. Values that large are rare, so other writes may wait.
func (d *DB) runValueLogGC() error {
	d.rotateMu.Lock()
	defer d.rotateMu.Unlock()
	for {
		switch err := d.writeExclusive(func() error { return d.db.Load().RunValueLogGC(0.5) }); {
		case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected):
			return nil // there is nothing more to gain
		case err != nil:
			return err
		}
	}
}

// maxJunkTables is above the five tables at which Badger begins to compact.
const maxJunkTables = 8

// junkSize is the size of a record of junk, and junkBatch the number of them in a
// transaction.
const (
	junkSize  = 1 << 10
	junkBatch = 512
)

// isJunk reports whether a key is one that [junk] writes, before all other keys or after
// them.
func isJunk(key []byte) bool { return len(key) == 5 && (key[0] == 0 || key[0] == 0xff) }

// junk adds expired records to a transaction, half of them before all other keys and half
// after them.
func junk(txn *badger.Txn, from uint32, expires uint64) error {
	for i := from; i < from+junkBatch; i++ {
		key := binary.BigEndian.AppendUint32([]byte{byte(i&1) * 0xff}, i)
		if err := txn.SetEntry(&badger.Entry{Key: key, Value: make([]byte, junkSize), ExpiresAt: expires}); err != nil {
			return err
		}
	}
	return nil
}

// writeJunkTable writes junk for one table, and waits until the table exists or has been
// compacted.
func (d *DB) writeJunkTable(tables int) error {
	past := uint64(time.Now().Unix()) - 1 // expired, so that the compaction drops it
	// a full memtable is flushed at the next write
	for from := uint32(0); from < memTable/junkSize*3/2; from += junkBatch {
		if err := d.Update(func(txn *badger.Txn) error { return junk(txn, from, past) }); err != nil {
			return err
		}
	}
	// A compaction keeps versions that a transaction may still read. Badger learns that
	// there is none from the end of a later transaction.
	if err := d.db.Load().View(func(*badger.Txn) error { return nil }); err != nil {
		return err
	}
	for range 100 {
		if d.db.Load().Levels()[0].NumTables != tables {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}
