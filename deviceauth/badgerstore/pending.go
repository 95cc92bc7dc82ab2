package badgerstore

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Bounds of the pending grants in memory.
const (
	// maxPending bounds how many are kept. A grant above it gets a record of its own, and
	// is read from Badger once it is written there.
	maxPending = 1 << 20
	// maxHeld bounds the bytes of those that are kept, in the same way: 512 MiB. A usual
	// one counts some 400.
	maxHeldBytes = 512 * maxPending
	// maxUnwritten bounds the bytes of those that are not written yet. Above it a new
	// grant waits for the transaction, so that Close has little to write.
	maxQueueBytes = 1 << 20
)

// pendingGrants keep in memory the grants that were created by this process and
// wait for a person. A device authorization request (RFC 8628 §3.1) waits for no
// transaction, and a poll of a pending code reads no record.
//
// While a grant is in here, the record in here is the true one: Badger has the same
// record, a bundle with it, or nothing. [Store.Update] therefore begins with the record
// in here. Once a change is committed the grant leaves, and is never written as pending again.
type pendingGrants struct {
	mu               sync.RWMutex
	grants           map[deviceauth.ID]*pendingGrant
	codes            map[deviceauth.UserCode]*pendingGrant
	last             *request        // of the last grant
	all              []*pendingGrant // the same, for sweep
	swept            int             // where in all sweep goes on
	queue            []*pendingGrant // not written yet, the oldest first; some may have left
	queueBytes       int             // of the queue
	heldBytes        int             // bytes of all
	room             *sync.Cond      // of mu: the queue has become shorter, or never will
	failed           error           // why the last write failed; nil: it did not
	closed           bool
	codesOnDiskUntil uint64        // until this second user codes may be in Badger that are not in codes
	moves            uint64        // counts how often such codes have come there
	wake             chan struct{} // tells the committer that the queue is not empty

	lastWrite atomic.Int64 // when the committer last wrote, in Unix nanoseconds: then the disk took it
}

// pendingGrant is a grant that waits. Its fields but those of compact are under mu of
// [pendingGrants]. There may be a million of them: each byte counts, and each pointer
// costs the garbage collector time.
type pendingGrant struct {
	compactGrant       // never changed
	index        int32 // in all; -1: the grant has left
	hasRecord    bool  // Badger has a record of this grant alone, and not only a bundle
	uncertain    bool  // a commit of a change failed: only Badger knows how much of it was written
}

func newPendingGrants() *pendingGrants {
	p := &pendingGrants{
		grants: map[deviceauth.ID]*pendingGrant{}, codes: map[deviceauth.UserCode]*pendingGrant{},
		wake: make(chan struct{}, 1),
	}
	p.room = sync.NewCond(&p.mu)
	return p
}

// past reports whether a Unix second has begun: then Badger has forgotten what it was to
// keep until then.
func past(second uint64) bool { return uint64(time.Now().Unix()) >= second }

// errCodeMoved has a caller look for a user code in Badger once more: since it looked,
// a pending grant has left memory for Badger.
var errCodeMoved = errors.New("a user code has moved")

// add takes in a new grant, or says why it cannot. moves is what codesElsewhere
// returned before the caller looked for the user code in Badger.
func (p *pendingGrants) add(ctx context.Context, g *deviceauth.Grant, moves uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.waitForRoom(ctx); err != nil {
		return err
	}
	return p.tryAdd(g, moves)
}

// errNoRoom has addNow leave a grant to add, which waits, or says why it cannot.
var errNoRoom = errors.New("the committer is behind")

// addNow is add where it need not wait.
func (p *pendingGrants) addNow(g *deviceauth.Grant, moves uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.queueBytes > maxQueueBytes || p.failed != nil || p.closed {
		return errNoRoom
	}
	return p.tryAdd(g, moves)
}

// tryAdd keeps a grant, unless its id or its user code is taken. It is called with mu held.
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

// insert is called with mu held.
func (p *pendingGrants) insert(one *pendingGrant) {
	one.index = int32(len(p.all))
	p.all, p.heldBytes = append(p.all, one), p.heldBytes+one.size()
	p.grants[one.id] = one
}

// insertCode has a grant found by its user code. Of two with one code it belongs to the one
// whose code is good for longer: add has seen that the other one's has expired. It is
// called with mu held.
func (p *pendingGrants) insertCode(one *pendingGrant) {
	if codeHolder := p.codes[one.userCode()]; codeHolder == nil || codeHolder.codeForgetAt() < one.codeForgetAt() {
		p.codes[one.userCode()] = one
	}
}

// restore takes in a grant of a bundle that a process before has written, unless another
// bundle had it. It is not found by its code until [pendingGrants.restored].
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

// restored lets those go that have records of their own, and has the others found by
// their codes. Above the bounds they get records of their own, and leave.
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

// overLimit reports whether more are in memory than shall be. It is called with mu held.
func (p *pendingGrants) overLimit() bool {
	return len(p.all) > maxPending || p.heldBytes > maxHeldBytes
}

// sweep looks at two grants each time one is added, so that those that no request can
// ask for leave as fast as others come. Polls hear for some minutes that a code has
// expired, so a grant without a record of its own stays until then.
func (p *pendingGrants) sweep() { p.sweepSome(2) }

// sweepSome is called with mu held.
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

// remove forgets a grant, which then is in Badger or has expired. The order of all does not
// matter, so the last one takes its position. It is called with mu held.
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

// get returns the caller's own copy of a grant, or nil. A doubted grant is what it was
// if Badger has no record of it.
func (p *pendingGrants) get(id deviceauth.ID) (g *deviceauth.Grant, doubted bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.copyOf(p.grants[id])
}

// byCode is get by user code. A code that has expired is free, though polls still find
// its grant by the id. elsewhere: where there is none, Badger may have one.
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

// copyOf is called with mu held for reading.
func (p *pendingGrants) copyOf(one *pendingGrant) (g *deviceauth.Grant, doubted bool) {
	if one == nil || past(one.forgetAt()) {
		return nil, false
	}
	return one.grant(), one.uncertain
}

// codesOnDisk is the second until which Badger may have user codes that are not in
// here, and how often such codes have come there.
func (p *pendingGrants) codesOnDisk() (until, moves uint64) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.codesOnDiskUntil, p.moves
}

// noteCodesOnDisk notes that Badger has user codes until a second that are not in here.
func (p *pendingGrants) noteCodesOnDisk(until uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.noteCodesOnDiskLocked(until)
}

// noteCodesOnDiskLocked is mayBeElsewhere with mu held.
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

// markUncertain notes that nobody knows whether changes have been committed.
func (p *pendingGrants) markUncertain(list map[deviceauth.ID]cached) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range list {
		if one := p.grants[id]; one != nil {
			one.uncertain = true
		}
	}
}
