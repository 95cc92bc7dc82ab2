package badgerstore

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// Badger drops an expired record when the table that it is in is merged with
// others, which in a quiet store may be never. So once a day everything is
// merged: junk, from the first key to the last, is written until so many new
// tables are there that Badger merges them with all that they overlap.

// tidyEvery is how much longer than it is needed a record may be on the disk.
const tidyEvery = 24 * time.Hour

// tidyFirst is so long after the start, for servers that are started anew
// every day, and lets the start itself alone.
const tidyFirst = 15 * time.Minute

// tidyLoop runs until Close, which waits for it.
func (s *Store) tidyLoop() {
	next := time.NewTimer(tidyFirst)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			catchPanics(s.dropExpired) // best effort: what stays goes tomorrow
			next.Reset(tidyEvery)
		case <-s.stop:
			return
		}
	}
}

// dropExpired merges all tables, so that no expired record is left. On a disk without
// room for all that twice it does nothing, and says why.
func (s *Store) dropExpired() error {
	s.openMu.RLock() // keeps the database open
	defer s.openMu.RUnlock()
	if err := s.writable(); err != nil {
		return err
	}
	// Everything is written once more before the old is dropped, and the junk too.
	if err := s.room.requireFree(s.room.reserve() + 2*s.room.tables() + maxJunkTables*2*memTable); err != nil {
		return err
	}
	for range maxJunkTables {
		select {
		case <-s.stop:
			return nil
		default:
		}
		tables := s.db.Load().Levels()[0].NumTables
		if err := s.writeJunkTable(tables); err != nil {
			return err
		}
		if s.db.Load().Levels()[0].NumTables <= tables {
			break // they have been merged
		}
	}
	if err := s.db.Load().Flatten(1); err != nil {
		return err
	}
	return s.runValueLogGC()
}

// runValueLogGC has Badger write what is left of a value log to another one, where most
// of it is not needed any more. Values that large are rare, so that others may wait.
func (s *Store) runValueLogGC() error {
	s.rotateMu.Lock()
	defer s.rotateMu.Unlock()
	for {
		switch err := s.writeExclusive(func() error { return s.db.Load().RunValueLogGC(0.5) }); {
		case errors.Is(err, badger.ErrNoRewrite), errors.Is(err, badger.ErrRejected):
			return nil // there is nothing more to gain
		case err != nil:
			return err
		}
	}
}

// maxJunkTables is above the five tables at which Badger begins to merge.
const maxJunkTables = 8

// junkSize is of one record, and junkBatch are those of one transaction.
const (
	junkSize  = 1 << 10
	junkBatch = 512
)

// isJunk reports whether a key is one of those that [junk] writes, before all other keys and
// behind them.
func isJunk(key []byte) bool { return len(key) == 5 && (key[0] == 0 || key[0] == 0xff) }

// junk puts records that have expired into a transaction, half of them before all other
// keys and half behind them.
func junk(txn *badger.Txn, from uint32, expires uint64) error {
	for i := from; i < from+junkBatch; i++ {
		key := binary.BigEndian.AppendUint32([]byte{byte(i&1) * 0xff}, i)
		if err := txn.SetEntry(&badger.Entry{Key: key, Value: make([]byte, junkSize), ExpiresAt: expires}); err != nil {
			return err
		}
	}
	return nil
}

// writeJunkTable writes junk for one table, and waits for it to be there, or merged.
func (s *Store) writeJunkTable(tables int) error {
	s.rotateMu.RLock() // as every write that waits for no disk
	defer s.rotateMu.RUnlock()
	past := uint64(time.Now().Unix()) - 1 // nobody needs it, and the merge drops it
	// a full one becomes a table at the next write
	for from := uint32(0); from < memTable/junkSize*3/2; from += junkBatch {
		if err := s.writeExclusive(func() error {
			return s.db.Load().Update(func(txn *badger.Txn) error { return junk(txn, from, past) })
		}); err != nil {
			return err
		}
	}
	// A merge keeps what somebody may still read, and who that is Badger knows
	// from when somebody last did.
	if err := s.db.Load().View(func(*badger.Txn) error { return nil }); err != nil {
		return err
	}
	for range 100 {
		if s.db.Load().Levels()[0].NumTables != tables {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}
