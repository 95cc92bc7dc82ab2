package badgerdb

import "github.com/dgraph-io/badger/v4"

// A snapshot is a read transaction held open. Badger keeps all tables that an open iterator
// of it may read. One snapshot is always open in advance: beginning a transaction waits for
// pending writes, which may in turn wait for the compaction.
type snapshot struct {
	txn   *badger.Txn
	users int // compactions, and the next one
}

// A hold is an open iterator, which keeps Badger from truncating the tables that exist when
// the hold is taken.
type hold struct {
	snapshot *snapshot
	it       *badger.Iterator
}

// renewSnapshot replaces the current snapshot, since Badger keeps every version that is
// newer than the oldest open transaction. It is called after a write, while no other write
// is running.
func (cs *compactions) renewSnapshot() {
	next := &snapshot{txn: cs.db.NewTransaction(false), users: 1}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.current != nil {
		cs.current.release()
	}
	cs.current = next
}

// release ends one use of the snapshot; the last one discards the transaction. mu of
// [compactions] must be held.
func (s *snapshot) release() {
	if s.users--; s.users == 0 {
		s.txn.Discard()
	}
}

// takeHold opens an iterator on the current snapshot. It returns nil if Badger cannot open
// one, as in a database without a memtable. mu must be held.
func (cs *compactions) takeHold() (h *hold) {
	if cs.closing {
		return cs.lastHold
	}
	catchPanics(func() error { // Badger panics without a memtable
		h = &hold{snapshot: cs.current, it: cs.current.txn.NewIterator(badger.IteratorOptions{})}
		h.snapshot.users++
		return nil
	})
	return h
}

// releaseHold ends a hold, except lastHold, which Badger's own compaction at close still
// needs. mu must be held.
func (cs *compactions) releaseHold(h *hold) {
	if h != nil && h != cs.lastHold {
		h.it.Close()
		h.snapshot.release()
	}
}

// prepareClose is called before the database is closed, after the last write. Compactions
// go on meanwhile, and Badger starts one of its own.
func (cs *compactions) prepareClose() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.db == nil || cs.closing {
		return
	}
	cs.lastHold = cs.takeHold()
	cs.closing = true
}

// compactorsStopped is called after the last compaction, before Badger closes the tables.
func (cs *compactions) compactorsStopped() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if hold := cs.lastHold; hold != nil && !cs.incomplete {
		cs.lastHold = nil
		cs.releaseHold(hold)
	}
}
