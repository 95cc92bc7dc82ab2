package badgerstore

import "github.com/dgraph-io/badger/v4"

// A moment is a read transaction that can open iterators, of which Badger keeps all
// tables that it saw. One is always held ready: to begin
// one waits for writes, which may wait for the merge.
type moment struct {
	txn   *badger.Txn
	users int // merges, and the next one
}

// A hold has Badger leave its tables uncut.
type hold struct {
	at *moment
	it *badger.Iterator
}

// renew is called after a write, with no other one under way: Badger keeps all versions
// since the oldest transaction.
func (m *merges) renew() {
	next := &moment{txn: m.db.NewTransaction(false), users: 1}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ready != nil {
		m.ready.leave()
	}
	m.ready = next
}

// leave ends the use of a moment; the last user ends the transaction. It is called with
// mu of [merges] held.
func (at *moment) leave() {
	if at.users--; at.users == 0 {
		at.txn.Discard()
	}
}

// hold takes the moment that is ready. It returns nil where there can be none, as in a
// database without a memtable. It is called with mu held.
func (m *merges) hold() (h *hold) {
	if m.closes {
		return m.last
	}
	guarded(func() error { // panics without a memtable
		h = &hold{at: m.ready, it: m.ready.txn.NewIterator(badger.IteratorOptions{})}
		h.at.users++
		return nil
	})
	return h
}

// release ends a hold. The last one of a database that is being closed stays: Badger's
// own merge at the close needs it. It is called with mu held.
func (m *merges) release(h *hold) {
	if h != nil && h != m.last {
		h.it.Close()
		h.at.leave()
	}
}

// closing is called before the database is closed, when nobody writes any more. Merges
// go on meanwhile, and Badger begins one of its own.
func (m *merges) closing() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.db == nil || m.closes {
		return
	}
	m.last = m.hold()
	m.closes = true
}

// closed is called when the last merge is over, before the tables are closed.
func (m *merges) closed() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if last := m.last; last != nil && !m.lacks {
		m.last = nil
		m.release(last)
	}
}
