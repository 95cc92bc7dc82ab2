package badgerstore

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Badger syncs its log once a transaction, however many wait. So all changes
// that wait are put into one transaction, by one goroutine, one after the
// other: two changes of one grant see each other, and one sync serves all.

// maxBatch bounds how many changes share a transaction; Badger's own bound, a
// share of its memtable, lies far above.
const maxBatch = 256

// A job is one change that waits for the disk.
type job struct {
	change func(*badger.Txn) error
	err    error
	done   chan struct{}
}

// Update implements [deviceauth.Store].
func (s *Store) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	return s.commit(ctx, func(txn *badger.Txn) error { return changeGrant(txn, id, change) })
}

// Change implements [deviceauth.Vault].
func (s *Store) Change(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	return s.commit(ctx, func(txn *badger.Txn) error { return changeDocument(txn, name, change) })
}

// commit hands a change to the committer and waits. Once handed over it is
// waited for whatever ctx says: only the disk knows how it went.
func (s *Store) commit(ctx context.Context, change func(*badger.Txn) error) error {
	j := &job{change: change, done: make(chan struct{})}
	select {
	case s.jobs <- j:
	case <-s.done:
		return wrap(badger.ErrDBClosed)
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-s.done: // it came too late for the last batch, or in it
		select {
		case <-j.done:
			return j.err
		default:
			return wrap(badger.ErrDBClosed)
		}
	}
}

// commitJobs is the committer. Close waits for it.
func (s *Store) commitJobs() {
	defer close(s.done)
	for {
		select {
		case first := <-s.jobs:
			s.commitBatch(s.collect(first))
		case <-s.stop:
			return
		}
	}
}

func (s *Store) collect(first *job) []*job {
	batch := []*job{first}
	for len(batch) < maxBatch {
		select {
		case j := <-s.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// commitBatch answers nobody before the sync: not even whom its change refused,
// for the refusal may rest on a change beside it.
func (s *Store) commitBatch(batch []*job) {
	s.writes.Lock()
	err := s.runBatch(batch)
	s.writes.Unlock()
	for _, j := range batch {
		if err != nil {
			j.err = wrap(err)
		}
		close(j.done)
	}
}

func (s *Store) runBatch(batch []*job) error {
	for {
		wrote, err := s.runOnce(batch)
		if errors.Is(err, badger.ErrConflict) {
			continue
		}
		if err != nil || !wrote {
			return err
		}
		return s.db.Sync()
	}
}

// runOnce runs all changes in one transaction. A change that fails must leave
// nothing behind, so each writes only when it has decided (see changeGrant).
func (s *Store) runOnce(batch []*job) (wrote bool, err error) {
	txn := s.db.NewTransaction(true)
	defer txn.Discard()
	for _, j := range batch {
		if j.err = j.change(txn); j.err == nil {
			wrote = true
		}
		if errors.Is(j.err, badger.ErrTxnTooBig) {
			return false, j.err
		}
	}
	if !wrote {
		return false, nil
	}
	return true, txn.Commit()
}

// changeGrant reads, changes and writes a grant and its indexes.
func changeGrant(txn *badger.Txn, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	g, expires, err := read(txn, grantKey(id))
	if err != nil {
		return err
	}
	if err := change(g); err != nil {
		return err
	}
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	// Never shorter than before: while tables are merged, an expired record
	// may leave before the older one that it covers, which would come back.
	until := max(second(g.KeepUntil()), expires)
	if g.State != deviceauth.Pending {
		if err := freeCode(txn, g); err != nil {
			return err
		}
	}
	if g.Person != nil {
		if err := txn.SetEntry(entry(subjectKey(g), nil, until)); err != nil {
			return err
		}
	}
	return txn.SetEntry(entry(grantKey(id), value, until))
}

// freeCode gives the user code back, unless another grant has it by now.
func freeCode(txn *badger.Txn, g *deviceauth.Grant) error {
	id, err := holder(txn, g.UserCode)
	if errors.Is(err, deviceauth.ErrNotFound) || err == nil && id != g.ID {
		return nil
	}
	if err != nil {
		return err
	}
	return txn.SetEntry(entry(codeKey(g.UserCode), nil, second(g.Expires)))
}

func changeDocument(txn *badger.Txn, name string, change func([]byte) ([]byte, error)) error {
	var old []byte
	item, err := txn.Get(vaultKey(name))
	if err == nil {
		old, err = item.ValueCopy(nil)
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	document, err := change(old)
	if err != nil {
		return err
	}
	return txn.Set(vaultKey(name), document)
}
