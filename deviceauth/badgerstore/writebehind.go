package badgerstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// New grants reach Badger after the answer (write-behind): the committer writes those of
// some milliseconds in one transaction, without a sync. If the process ends within that
// time, their devices lose the code: a poll is answered invalid_grant, and the device
// requests another one. A change of a grant is not written behind.

const (
	// writeDelay is also about how much a kill -9 costs: the codes of that time.
	writeDelay = 5 * time.Millisecond   // from the first new grant to the transaction
	writeRetry = 100 * time.Millisecond // after a failed one
	writeMost  = 256                    // in one transaction: a decision waits for no more than these
)

// Create implements [deviceauth.Store]. A pending grant is kept in memory without waiting
// for the disk; it is refused while nothing can be written.
func (s *Store) Create(ctx context.Context, g *deviceauth.Grant) error {
	if !writtenBehind(g) {
		return s.commit(ctx, func(b *batch) error { return b.createNow(g) })
	}
	if !s.pending.diskCheckedRecently() {
		if err := s.db.Writable(); err != nil {
			return err
		}
	}
	for {
		until, moves := s.pending.codesOnDisk()
		if !past(until) {
			if err := s.codeIsFree(g.UserCode); err != nil {
				return err
			}
		}
		if err := s.pending.add(ctx, g, moves); !errors.Is(err, errCodeMoved) {
			return err
		}
	}
}

// writtenBehind reports whether a new grant is kept in memory first. The id of a login in
// the browser is as old as its page, which may be posted twice: only the committer, one
// change after the other, can tell whether it has been decided.
func writtenBehind(g *deviceauth.Grant) bool {
	return g.State == deviceauth.Pending && g.Redirect == ""
}

// codeIsFree returns ErrExists if Badger has the user code.
func (s *Store) codeIsFree(code deviceauth.UserCode) error {
	err := s.view(func(txn *badger.Txn) error {
		_, err := codeHolder(txn, code)
		return err
	})
	if errors.Is(err, deviceauth.ErrNotFound) {
		return nil
	}
	return existsError(err)
}

// existsError returns the error of Create for the result of looking up an id or a code.
func existsError(err error) error {
	if err == nil {
		return deviceauth.ErrExists
	}
	return err
}

// writePending writes new grants, and returns the delay until the next call; negative: when
// there is another new grant. Only the committer calls it, so no change is committed
// meanwhile.
func (s *Store) writePending() time.Duration {
	// A decided grant is not in the list, and none is decided until this returns: a
	// decision waits for the committer.
	list, own := s.pending.unwritten(writeMost)
	if len(list) == 0 {
		return -1
	}
	n := 0
	err := s.db.Update(func(txn *badger.Txn) (err error) {
		n, err = writeFirst(txn, list, own)
		return err
	})
	left := s.pending.written(n, own, err)
	switch {
	case err != nil:
		return writeRetry
	case left > 0:
		return 0
	}
	return -1
}

// writeFirst adds as many of the first grants to a transaction as fit, and returns how many
// they are: with own, each as a record of its own, else together in a bundle.
func writeFirst(txn *badger.Txn, list []*pendingGrant, own bool) (n int, err error) {
	var all bundle
	for ; n < len(list) && len(all.value) < bundleSize; n++ {
		one := list[n]
		if one == nil || past(one.forgetAt()) {
			continue
		}
		if !own && one.full == nil {
			all.add(one)
			continue
		}
		if err = one.write(txn); err != nil {
			break
		}
	}
	switch {
	case errors.Is(err, badger.ErrTxnTooBig) && n > 0:
		err = nil
	case err != nil:
		return 0, err
	}
	if all.value != nil {
		err = txn.SetEntry(newEntry(bundleKey(all.first), all.value, all.forget))
	}
	return n, err
}

// write adds the grant to a transaction as a record of its own, before its code: a grant
// that did not fit is written again.
func (one *pendingGrant) write(txn *badger.Txn) error {
	g := one.grant()
	if one.uncertain {
		if _, err := txn.Get(grantKey(g.ID)); !errors.Is(err, badger.ErrKeyNotFound) {
			return err // nil: the change was committed
		}
	}
	value, err := json.Marshal(g)
	if err != nil {
		return fmt.Errorf("encoding a grant: %w", err)
	}
	if err := txn.SetEntry(newEntry(grantKey(g.ID), value, one.forgetAt())); err != nil {
		return err
	}
	return txn.SetEntry(newEntry(codeKey(g.UserCode), one.id[:], one.codeForgetAt())) // Badger keeps the slice
}

// flushTime is how long a store that is being closed tries to write the new grants if its
// disk accepts none: less than [closeTime].
const flushTime = 2 * time.Second

// flush writes all new grants before the store is closed, or logs how many are lost.
func (s *Store) flush() {
	s.pending.close()
	for until := time.Now().Add(flushTime); ; {
		if s.writePending() < 0 {
			return
		}
		why := s.pending.writeErr
		if why != nil && (s.db.IsBroken() || time.Now().After(until)) { // it is not opened again any more
			s.logError("%d grants that were pending could not be written: %v", len(s.pending.queue), why)
			return
		}
		if why != nil {
			time.Sleep(writeRetry)
		}
	}
}

// createNow adds a grant at once: one that is not pending, such as a restored one, or
// whose id is not new. It is refused if its id or its code is taken, in memory or on the
// disk.
func (b *batch) createNow(g *deviceauth.Grant) error {
	if _, _, err := b.read(g.ID); !errors.Is(err, deviceauth.ErrNotFound) {
		return existsError(err)
	}
	if g.State == deviceauth.Pending {
		if waits, _, _ := b.pending.byCode(g.UserCode); waits != nil {
			return deviceauth.ErrExists
		}
		if _, err := codeHolder(b.txn, g.UserCode); !errors.Is(err, deviceauth.ErrNotFound) {
			return existsError(err)
		}
		if err := b.changeCode(g); err != nil {
			return err
		}
	}
	return b.write(g, expirySecond(g.KeepUntil()))
}

// read returns a grant as it is before the next change, and the second in which Badger
// forgets it.
func (b *batch) read(id deviceauth.ID) (*deviceauth.Grant, uint64, error) {
	var waits *deviceauth.Grant
	if _, changed := b.changed[id]; !changed {
		g, doubted := b.pending.get(id)
		if g != nil && !doubted {
			return g, expirySecond(g.KeepUntil()), nil
		}
		waits = g
	}
	g, expires, err := read(b.txn, grantKey(id))
	if errors.Is(err, deviceauth.ErrNotFound) && waits != nil {
		return waits, expirySecond(waits.KeepUntil()), nil
	}
	return g, expires, err
}

// lastCodeOnDisk returns the second until which Badger has user codes of earlier processes:
// those of grants with records of their own. Until then a new code is looked up on the
// disk, too, so that no two grants wait for one.
func lastCodeOnDisk(txn *badger.Txn) (until uint64) {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: codeKey("")})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		until = max(until, it.Item().ExpiresAt())
	}
	return until
}
