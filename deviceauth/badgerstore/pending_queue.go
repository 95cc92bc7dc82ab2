package badgerstore

import (
	"context"
	"slices"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// The pending grants that the committer has to write stand in a queue, the oldest first.

// enqueue is called with mu held, and has the committer write a grant.
func (p *pendingGrants) enqueue(one *pendingGrant) {
	p.queueBytes += one.size()
	if p.queue = append(p.queue, one); len(p.queue) == 1 {
		select {
		case p.wake <- struct{}{}:
		default: // it has been told already
		}
	}
}

// waitForRoom waits until the committer has written enough for another grant to stand in
// the queue, and returns why that will not be. It is called with mu held.
func (p *pendingGrants) waitForRoom(ctx context.Context) error {
	if p.queueBytes > maxQueueBytes {
		stop := context.AfterFunc(ctx, func() {
			p.mu.Lock() // so that the waiter waits already, or sees that ctx is done
			defer p.mu.Unlock()
			p.room.Broadcast()
		})
		defer stop()
	}
	for p.queueBytes > maxQueueBytes && p.failed == nil && !p.closed && ctx.Err() == nil {
		p.room.Wait()
	}
	switch {
	case p.closed:
		return wrap(badger.ErrDBClosed)
	case p.failed != nil:
		return p.failed
	case p.queueBytes > maxQueueBytes:
		return ctx.Err()
	}
	return nil
}

// unwritten returns the oldest grants of the queue, at most so many, and whether each is
// to have a record of its own, by which it can be read when it has left memory. A grant
// that has left is nil: it was decided, and the record of the decision must not be
// written over.
func (p *pendingGrants) unwritten(most int) (list []*pendingGrant, own bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list = make([]*pendingGrant, min(most, len(p.queue)))
	for i, one := range p.queue[:len(list)] {
		if one.index >= 0 {
			list[i] = one
		}
	}
	return list, p.overLimit()
}

// snapshot returns the grants that are in memory, in no order. Those that leave
// meanwhile have records of their own by then, or have expired.
func (p *pendingGrants) snapshot() []*pendingGrant {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.all)
}

// written takes the first n off the queue, or keeps them all where the write failed. It
// returns how many are left.
func (p *pendingGrants) written(n int, own bool, err error) (left int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.room.Broadcast()
	if p.failed = err; err != nil {
		p.lastWrite.Store(0)
		return len(p.queue)
	}
	p.lastWrite.Store(time.Now().UnixNano())
	for i, one := range p.queue[:n] {
		one.hasRecord, p.queue[i] = own || one.full != nil, nil
		p.queueBytes -= one.size()
		if one.hasRecord && p.overLimit() {
			p.remove(one)
			p.noteCodesOnDiskLocked(one.codeForgetAt())
		}
	}
	if p.queue = p.queue[n:]; len(p.queue) == 0 {
		p.queue = nil
	}
	return len(p.queue)
}

// diskCheckedRecently reports whether the disk took new grants so short a time ago that a look at
// what is left would look no further.
func (p *pendingGrants) diskCheckedRecently() bool {
	since := time.Now().UnixNano() - p.lastWrite.Load()
	return since >= 0 && since < int64(spaceCheckInterval)
}

// close refuses new grants from now on. Those that are here answer until the store has
// been closed, so that no poll hears that a grant is gone that is about to be written.
func (p *pendingGrants) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.room.Broadcast()
}

// has reports whether a grant is in memory.
func (p *pendingGrants) has(id deviceauth.ID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.grants[id] != nil
}

// cleanEvery is how often memory is looked through for what is over, where no new grant
// comes, by which [pendingGrants.sweep] would. A million grants take a quarter of an hour.
const cleanEvery = time.Second

// clean looks at some grants.
func (p *pendingGrants) clean() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweepSome(1 << 10)
}

// drop gives the memory back, of a store that has been closed.
func (p *pendingGrants) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grants, p.codes, p.all, p.queue, p.last = nil, nil, nil, nil, nil
}
