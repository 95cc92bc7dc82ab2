package badgerstore

import (
	"context"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/badgerdb"
)

// The pending grants that the committer has to write are in a queue, the oldest first.

// enqueue queues a grant for the committer. mu must be held.
func (p *pendingGrants) enqueue(one *pendingGrant) {
	p.queueBytes += one.size()
	if p.queue = append(p.queue, one); len(p.queue) == 1 {
		select {
		case p.wake <- struct{}{}:
		default: // it is awake already
		}
	}
}

// waitForRoom waits until the committer has written enough for another grant to be queued,
// and returns why that will not happen. mu must be held.
func (p *pendingGrants) waitForRoom(ctx context.Context) error {
	if p.queueBytes > maxQueueBytes {
		stop := context.AfterFunc(ctx, func() {
			p.mu.Lock() // so that the waiter waits already, or sees that ctx is done
			defer p.mu.Unlock()
			p.queueShorter.Broadcast()
		})
		defer stop()
	}
	for p.queueBytes > maxQueueBytes && p.writeErr == nil && !p.closed && ctx.Err() == nil {
		p.queueShorter.Wait()
	}
	switch {
	case p.closed:
		return errClosed
	case p.writeErr != nil:
		return p.writeErr
	case p.queueBytes > maxQueueBytes:
		return ctx.Err()
	}
	return nil
}

// unwritten returns up to most of the oldest grants in the queue, and whether each one is
// to get a record of its own, by which it can be read after it was removed from memory. A
// removed grant is nil: it was decided, and the record of the decision must not be
// overwritten.
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

// snapshot returns the grants in memory, in no order. Those that are removed meanwhile have
// records of their own by then, or have expired.
func (p *pendingGrants) snapshot() []*pendingGrant {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Clone(p.all)
}

// written removes the first n grants from the queue, or keeps them all if the write failed.
// It returns how many are left.
func (p *pendingGrants) written(n int, own bool, err error) (left int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queueShorter.Broadcast()
	if p.writeErr = err; err != nil {
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

// diskCheckedRecently reports whether the disk accepted new grants so recently that the
// last check of the free space is still valid.
func (p *pendingGrants) diskCheckedRecently() bool {
	since := time.Now().UnixNano() - p.lastWrite.Load()
	return since >= 0 && since < int64(badgerdb.CheckInterval)
}

// close refuses new grants from now on. The existing ones are still found until the store
// is closed, so that no poll is told that a grant is gone which is about to be written.
func (p *pendingGrants) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.queueShorter.Broadcast()
}

// has reports whether a grant is in memory.
func (p *pendingGrants) has(id deviceauth.ID) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.grants[id] != nil
}

// cleanEvery is how often clean removes expired grants, in case no new grants come, at
// which [pendingGrants.sweep] would. A million grants take a quarter of an hour.
const cleanEvery = time.Second

// clean checks some grants.
func (p *pendingGrants) clean() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweepSome(1 << 10)
}

// drop frees the memory of a closed store.
func (p *pendingGrants) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grants, p.codes, p.all, p.queue, p.last = nil, nil, nil, nil, nil
}
