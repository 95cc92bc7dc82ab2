package badgerstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Limits of the pending grants in memory.
const (
	// maxPending bounds how many are kept. A grant above it gets a record of its own, and
	// is read from Badger once it is written there.
	maxPending = 1 << 20
	// maxHeldBytes bounds their size, in the same way: 512 MiB. A usual grant counts some
	// 400 bytes.
	maxHeldBytes = 512 * maxPending
	// maxQueueBytes bounds the size of those that are not written yet. Above it a new grant
	// waits for the transaction, so that Close has little to write.
	maxQueueBytes = 1 << 20
)

// pendingGrants keeps in memory the grants that this process created and that wait for a
// person. So a device authorization request (RFC 8628 §3.1) waits for no transaction, and a
// poll of a pending code reads no record.
//
// While a grant is in here, its record in here is the valid one: Badger has the same
// record, a bundle with it, or nothing. [Store.Update] therefore begins with the record in
// here. Once a change is committed the grant is removed, and is never written as pending
// again.
type pendingGrants struct {
	mu               sync.RWMutex
	grants           map[deviceauth.ID]*pendingGrant
	codes            map[deviceauth.UserCode]*pendingGrant
	last             *request        // of the last grant
	all              []*pendingGrant // the values of grants, for sweep
	swept            int             // the index in all at which sweep continues
	queue            []*pendingGrant // not written yet, the oldest first; some may have been removed
	queueBytes       int             // the size of queue
	heldBytes        int             // the size of all
	queueShorter     *sync.Cond      // of mu: the queue has become shorter, or never will
	writeErr         error           // why the last write failed; nil: it did not
	closed           bool
	codesOnDiskUntil uint64        // until this second Badger may have user codes that are not in codes
	moves            uint64        // counts how often codesOnDiskUntil was set
	wake             chan struct{} // tells the committer that the queue is not empty

	lastWrite atomic.Int64 // when the committer last succeeded in writing, in Unix nanoseconds
}

// A pendingGrant is a grant that waits. Its fields, except those of compactGrant, are
// guarded by mu of [pendingGrants]. There may be a million of them: each byte counts, and
// each pointer costs the garbage collector time.
type pendingGrant struct {
	compactGrant       // never changed
	index        int32 // in all; -1: the grant was removed
	hasRecord    bool  // Badger has a record of this grant alone, and not only a bundle
	uncertain    bool  // the commit of a change failed: only Badger knows how much of it was written
}

func newPendingGrants() *pendingGrants {
	p := &pendingGrants{
		grants: map[deviceauth.ID]*pendingGrant{}, codes: map[deviceauth.UserCode]*pendingGrant{},
		wake: make(chan struct{}, 1),
	}
	p.queueShorter = sync.NewCond(&p.mu)
	return p
}

// past reports whether a Unix second has begun: then Badger has forgotten records that
// expire in it.
func past(second uint64) bool { return uint64(time.Now().Unix()) >= second }

// errCodeMoved asks the caller to look up a user code in Badger again: since its lookup, a
// pending grant has moved from memory to Badger.
var errCodeMoved = errors.New("a user code has moved")

// add adds a new grant, or returns why it cannot. moves is what codesOnDisk returned before
// the caller looked up the user code in Badger.
func (p *pendingGrants) add(ctx context.Context, g *deviceauth.Grant, moves uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.waitForRoom(ctx); err != nil {
		return err
	}
	return p.tryAdd(g, moves)
}

// errNoRoom is returned by addNow for a grant that only add can add, as it may have to
// wait.
var errNoRoom = errors.New("the committer is behind")

// addNow is add for a grant that need not wait.
func (p *pendingGrants) addNow(g *deviceauth.Grant, moves uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queueBytes > maxQueueBytes || p.writeErr != nil || p.closed {
		return errNoRoom
	}
	return p.tryAdd(g, moves)
}

// tryAdd adds a grant, unless its id or its user code is taken. mu must be held.
func (p *pendingGrants) tryAdd(g *deviceauth.Grant, moves uint64) error {
	switch {
	case p.moves != moves:
		return errCodeMoved
	case p.grants[g.ID] != nil:
		return deviceauth.ErrExists
	}
	if codeHolder := p.codes[g.UserCode]; codeHolder != nil && !past(codeHolder.codeForgetAt()) {
		return deviceauth.ErrExists
	}
	p.sweep()
	fresh := &pendingGrant{compactGrant: newCompactGrant(g, p.last)}
	if fresh.shared != nil {
		p.last = fresh.shared
	}
	p.insert(fresh)
	p.insertCode(fresh)
	p.enqueue(fresh)
	return nil
}

// insert adds a grant to grants and all. mu must be held.
func (p *pendingGrants) insert(one *pendingGrant) {
	one.index = int32(len(p.all))
	p.all, p.heldBytes = append(p.all, one), p.heldBytes+one.size()
	p.grants[one.id] = one
}

// insertCode makes a grant findable by its user code. If two grants have the same code, it
// belongs to the one whose code expires later: add has checked that the other one's has
// expired. mu must be held.
func (p *pendingGrants) insertCode(one *pendingGrant) {
	if codeHolder := p.codes[one.userCode()]; codeHolder == nil || codeHolder.codeForgetAt() < one.codeForgetAt() {
		p.codes[one.userCode()] = one
	}
}

// restore adds a grant from a bundle of an earlier process, unless another bundle had it.
// It is not findable by its code until [pendingGrants.restored].
func (p *pendingGrants) restore(c compactGrant) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.grants[c.id] != nil {
		return
	}
	if p.last.equal(c.shared) {
		c.shared = p.last
	}
	p.last = c.shared
	p.insert(&pendingGrant{compactGrant: c})
}

// restored removes the grants that have records of their own, and makes the others findable
// by their codes. Grants above the limits are written as records of their own, and then
// removed.
func (p *pendingGrants) restored(decided []deviceauth.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range decided {
		if one := p.grants[id]; one != nil {
			p.remove(one)
		}
	}
	for _, one := range p.all {
		p.insertCode(one)
		if p.overLimit() {
			p.enqueue(one)
		}
	}
}

// overLimit reports whether there are more grants in memory than allowed. mu must be held.
func (p *pendingGrants) overLimit() bool {
	return len(p.all) > maxPending || p.heldBytes > maxHeldBytes
}

// sweep checks two grants each time one is added, so that grants that no request can ask
// for are removed as fast as others come. For some minutes, polls are answered that a code
// has expired, so a grant without a record of its own stays until then.
func (p *pendingGrants) sweep() { p.sweepSome(2) }

// sweepSome checks up to most grants. mu must be held.
func (p *pendingGrants) sweepSome(most int) {
	now := uint64(time.Now().Unix())
	for i := 0; i < most && len(p.all) > 0; i++ {
		p.swept = (p.swept + 1) % len(p.all)
		one := p.all[p.swept]
		if now >= one.forgetAt() || one.hasRecord && now >= one.codeForgetAt() {
			p.remove(one)
		}
	}
}

// remove removes a grant, which then is in Badger or has expired. The order of all does not
// matter, so the last one takes its position. mu must be held.
func (p *pendingGrants) remove(one *pendingGrant) {
	if one.index < 0 {
		return
	}
	delete(p.grants, one.id)
	if p.codes[one.userCode()] == one {
		delete(p.codes, one.userCode())
	}
	end := len(p.all) - 1
	p.all[one.index] = p.all[end]
	p.all[one.index].index = one.index
	p.all[end] = nil
	p.all = p.all[:end]
	one.index = -1
	p.heldBytes -= one.size()
}

// get returns the caller's own copy of a grant, or nil. An uncertain grant is unchanged if
// Badger has no record of it.
func (p *pendingGrants) get(id deviceauth.ID) (g *deviceauth.Grant, doubted bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.copyOf(p.grants[id])
}

// byCode is get by user code. An expired code is free, though polls still find its grant by
// the id. elsewhere reports whether Badger may have a grant with the code if memory has
// none.
func (p *pendingGrants) byCode(code deviceauth.UserCode) (g *deviceauth.Grant, doubted, elsewhere bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	elsewhere = p.closed || uint64(time.Now().Unix()) < p.codesOnDiskUntil
	one := p.codes[code]
	if one == nil || past(one.codeForgetAt()) {
		return nil, false, elsewhere
	}
	g, doubted = p.copyOf(one)
	return g, doubted, elsewhere
}

// copyOf returns a copy of the grant. mu must be held for reading.
func (p *pendingGrants) copyOf(one *pendingGrant) (g *deviceauth.Grant, doubted bool) {
	if one == nil || past(one.forgetAt()) {
		return nil, false
	}
	return one.grant(), one.uncertain
}

// codesOnDisk returns the second until which Badger may have user codes that are not in
// memory, and how often it was set.
func (p *pendingGrants) codesOnDisk() (until, moves uint64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.codesOnDiskUntil, p.moves
}

// noteCodesOnDisk notes that until a second, Badger has user codes that are not in memory.
func (p *pendingGrants) noteCodesOnDisk(until uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteCodesOnDiskLocked(until)
}

// noteCodesOnDiskLocked is noteCodesOnDisk with mu held.
func (p *pendingGrants) noteCodesOnDiskLocked(until uint64) {
	p.codesOnDiskUntil = max(p.codesOnDiskUntil, until)
	p.moves++
}

// changed notes that changes have been committed: from now on Badger has the record.
func (p *pendingGrants) changed(list map[deviceauth.ID]cached) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, item := range list {
		if one := p.grants[id]; one != nil {
			p.remove(one)
		}
		if item.grant.State == deviceauth.Pending {
			p.noteCodesOnDiskLocked(expirySecond(item.grant.Expires))
		}
	}
}

// markUncertain notes that it is unknown whether changes have been committed.
func (p *pendingGrants) markUncertain(list map[deviceauth.ID]cached) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range list {
		if one := p.grants[id]; one != nil {
			one.uncertain = true
		}
	}
}
