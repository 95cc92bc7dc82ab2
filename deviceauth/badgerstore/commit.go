package badgerstore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Badger syncs its log once per transaction, however many callers wait. So one goroutine
// puts all waiting changes into one transaction, one after the other: two changes of one
// grant see each other, and one sync serves all.

// The path of a change: commit hands it to the committer, which collects all that wait;
// runJobs runs them in one transaction, commits and syncs it; then the caches are updated,
// and at last the callers are answered. So a caller that was answered finds its change in
// the caches and on the disk, and a reader never finds in a cache what may still be lost.

// maxBatch bounds how many changes share a transaction; Badger's own limit, a share of its
// memtable, is far above.
const maxBatch = 256

// A job is one change that waits for the disk. change may run again, in another
// transaction. err may be read when done is closed.
type job struct {
	change func(*batch) error
	err    error
	done   chan struct{}
}

// Update implements [deviceauth.Store].
func (s *Store) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	return s.commit(ctx, func(b *batch) error { return b.changeGrant(id, change) })
}

// UpdateDocument implements [deviceauth.Documents].
func (s *Store) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	return s.commit(ctx, func(b *batch) error { return b.changeDocument(name, change) })
}

// LoadDocument implements [deviceauth.Documents]; nil: there is no such document.
func (s *Store) LoadDocument(_ context.Context, name string) (document []byte, err error) {
	err = s.view(func(txn *badger.Txn) error {
		item, err := txn.Get(documentKey(name))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err == nil {
			document, err = item.ValueCopy(nil)
		}
		return err
	})
	return document, err
}

// PutDocument implements [deviceauth.Documents]. A document with a time to live is not in a
// backup.
func (s *Store) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	return s.commit(ctx, func(b *batch) error {
		life := time.Until(until)
		if document == nil || life <= 0 {
			return b.txn.Delete(documentKey(name))
		}
		// Badger counts whole seconds
		return b.txn.SetEntry(badger.NewEntry(documentKey(name), document).WithTTL(life + time.Second))
	})
}

// commit hands a change to the committer and waits. Once handed over, it waits whatever ctx
// says: only the disk knows the outcome.
func (s *Store) commit(ctx context.Context, change func(*batch) error) error {
	j := &job{change: change, done: make(chan struct{})}
	select {
	case s.jobs <- j:
	case <-s.done:
		return errClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-j.done:
		return j.err
	case <-s.done: // it was too late for the last batch, or in it
		select {
		case <-j.done:
			return j.err
		default:
			return errClosed
		}
	}
}

// commitJobs is the committer: this one goroutine makes all writes of a store in service,
// so that no two of them have to be ordered. Close waits for it.
func (s *Store) commitJobs() {
	defer close(s.done)
	due := time.NewTimer(writeDelay) // for new grants
	defer due.Stop()
	clean := time.NewTicker(cleanEvery)
	defer clean.Stop()
	for {
		select {
		case first := <-s.jobs:
			s.commitBatch(s.collect(first))
		case <-s.pending.wake:
			due.Reset(writeDelay)
		case <-due.C:
			if wait := s.writePending(); wait >= 0 {
				due.Reset(wait)
			}
		case <-clean.C:
			s.pending.clean()
		case <-s.stop:
			s.flush()
			return
		}
	}
}

// collect returns the job and those that wait with it, up to [maxBatch]. It does not wait
// for more: while one transaction is synced, the next jobs queue up.
func (s *Store) collect(first *job) []*job {
	jobs := []*job{first}
	for len(jobs) < maxBatch {
		select {
		case j := <-s.jobs:
			jobs = append(jobs, j)
		default:
			return jobs
		}
	}
	return jobs
}

// commitBatch answers no caller before the sync, not even one whose change refused: the
// refusal may rest on another change in the batch.
func (s *Store) commitBatch(jobs []*job) {
	err := s.runJobs(jobs)
	for _, j := range jobs {
		if err != nil {
			j.err = err
		}
		close(j.done)
	}
}

// runJobs runs the jobs in one transaction, and syncs it. After a conflict they run again.
func (s *Store) runJobs(jobs []*job) error {
	var b *batch
	err := s.db.Commit(func(txn *badger.Txn) (changed bool, err error) {
		b = &batch{txn: txn, changed: map[deviceauth.ID]cached{}, pending: s.pending}
		return b.run(jobs)
	})
	switch {
	case b == nil: // nothing may be written
	case err != nil:
		s.cache.forget(b.changed)
		s.pending.markUncertain(b.changed)
	default:
		s.cache.replace(b.changed) // first: a grant that leaves pending is found there
		s.pending.changed(b.changed)
	}
	return err
}

// A batch is one transaction and the grants that it changes.
type batch struct {
	txn     *badger.Txn
	changed map[deviceauth.ID]cached
	pending *pendingGrants
}

// run lets each job decide and then write: one that fails has written nothing. It reports
// whether one has not failed. Only a transaction that is too big ends the batch; then none
// of the jobs is committed.
func (b *batch) run(jobs []*job) (changed bool, err error) {
	for _, j := range jobs {
		j.err = j.change(b)
		changed = changed || j.err == nil
		if errors.Is(j.err, badger.ErrTxnTooBig) {
			return changed, j.err
		}
	}
	return changed, nil
}

// changeGrant reads, changes and writes a grant and its indexes. If the change returns an
// error, nothing is written, and the caller gets that error.
func (b *batch) changeGrant(id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	g, expires, err := b.read(id)
	if err != nil {
		return err
	}
	if err := change(g); err != nil {
		return err
	}
	// Never shorter than before: a compaction may drop an expired record before the older
	// version that it covers, which would come back.
	until := max(expirySecond(g.KeepUntil()), expires)
	if err := b.changeCode(g); err != nil {
		return err
	}
	return b.write(g, until)
}

// write adds a grant and the index of its owners to the transaction.
func (b *batch) write(g *deviceauth.Grant, until uint64) error {
	value, err := json.Marshal(g)
	if err != nil {
		return err
	}
	if g.Person != nil {
		for _, owner := range g.Person.Owners() {
			if err := b.txn.SetEntry(newEntry(ownerKey(owner, g.ID), nil, until)); err != nil {
				return err
			}
		}
	}
	own := *g
	b.changed[g.ID] = cached{grant: &own, expires: until}
	return b.txn.SetEntry(newEntry(grantKey(g.ID), value, until))
}

// changeCode frees the user code of a grant that is decided, and writes the code of one
// that is not: the grant leaves memory with the change, perhaps before its code was
// written.
func (b *batch) changeCode(g *deviceauth.Grant) error {
	switch free := expirySecond(g.Expires); {
	case g.State != deviceauth.Pending:
		return b.freeCode(g)
	case past(free): // another grant may have it
		return nil
	default:
		return b.txn.SetEntry(newEntry(codeKey(g.UserCode), g.ID[:], free))
	}
}

// freeCode frees the user code, unless another grant has it by now.
func (b *batch) freeCode(g *deviceauth.Grant) error {
	id, err := codeHolder(b.txn, g.UserCode)
	if errors.Is(err, deviceauth.ErrNotFound) || err == nil && id != g.ID {
		return nil
	}
	if err != nil {
		return err
	}
	return b.txn.SetEntry(newEntry(codeKey(g.UserCode), nil, expirySecond(g.Expires)))
}

// changeDocument reads, changes and writes a document without a time to live. A document
// that the change leaves as it is costs no write.
func (b *batch) changeDocument(name string, change func([]byte) ([]byte, error)) error {
	var old []byte
	item, err := b.txn.Get(documentKey(name))
	if err == nil {
		old, err = item.ValueCopy(nil)
	}
	if err != nil && !errors.Is(err, badger.ErrKeyNotFound) {
		return err
	}
	document, err := change(old)
	if err != nil || (old == nil) == (document == nil) && bytes.Equal(old, document) {
		return err
	}
	return b.txn.Set(documentKey(name), document)
}
