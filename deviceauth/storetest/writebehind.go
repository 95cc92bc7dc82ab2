package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// WriteBehindBugs are mistakes of stores that write new grants after Create has
// returned. [Checks] may not find them: they neither close a store nor open it twice.
var WriteBehindBugs = []Bug{
	{Name: "new grants are not written on Close", put: writesBehind(forgetsOnClose)},
	{Name: "a new grant is written after its approval", put: writesBehind(writesTwice)},
	{Name: "a reload loses what is pending", put: writesBehind(keepsToItself)},
}

// A flaw is the bug of a behind.
type flaw int

const (
	forgetsOnClose flaw = iota // it only writes while it is open
	writesTwice                // with the decision, and again after the delay
	keepsToItself              // not before an Update: another configuration does not see the grant
)

// behind is a write-behind layer over a correct store, with a flaw.
type behind struct {
	deviceauth.Storage
	flaw    flaw
	mu      sync.Mutex
	waiting map[deviceauth.ID]*deviceauth.Grant
}

// writesBehind returns the put function of a [Bug]. The layer withholds new grants
// from the correct store until the delay has passed, or until a method needs them
// there.
func writesBehind(f flaw) func(*broken) {
	return func(b *broken) {
		b.Storage = &behind{Storage: b.Storage, flaw: f, waiting: map[deviceauth.ID]*deviceauth.Grant{}}
	}
}

// Create implements [deviceauth.Store]. It accepts every user code, because no
// durable check creates two grants with the same code.
func (b *behind) Create(ctx context.Context, g *deviceauth.Grant) error {
	own := *g
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting[g.ID] = &own
	if b.flaw != keepsToItself {
		time.AfterFunc(5*time.Millisecond, func() { b.write(context.Background(), g.ID) })
	}
	return nil
}

// write writes a grant to the underlying store, over the record that is there by now:
// not to check that is the bug of writesTwice; with the other flaws there is no other
// record.
func (b *behind) write(ctx context.Context, id deviceauth.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.waiting[id]
	if g == nil {
		return nil
	}
	delete(b.waiting, id)
	err := b.Storage.Create(ctx, g)
	if _, lookup := b.Storage.Get(ctx, id); lookup == nil { // whatever Create returned
		return write(ctx, b.Storage, g)
	}
	return err
}

// waits returns the caller's own copy of a grant that has not been written yet, or
// nil.
func (b *behind) waits(id deviceauth.ID) *deviceauth.Grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.waiting[id]; g != nil {
		own := *g
		return &own
	}
	return nil
}

// Get implements [deviceauth.Store]. It also finds grants that have not been written:
// no flaw is about that.
func (b *behind) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if g := b.waits(id); g != nil {
		return g, nil
	}
	return b.Storage.Get(ctx, id)
}

// ByUserCode implements [deviceauth.Store]. A linear search is fast enough for the
// one or two grants of a check.
func (b *behind) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.waiting {
		if g.UserCode == code {
			own := *g
			return &own, nil
		}
	}
	return b.Storage.ByUserCode(ctx, code)
}

// Update implements [deviceauth.Store]. The correct way is to write the grant first,
// so that the change finds it and no later write overwrites the change.
func (b *behind) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if b.flaw != writesTwice {
		return errors.Join(b.write(ctx, id), b.Storage.Update(ctx, id, change))
	}
	if g := b.waits(id); g != nil {
		if err := b.Storage.Create(ctx, g); err != nil {
			return err
		}
	}
	return b.Storage.Update(ctx, id, change) // the grant will be written again
}

// Close implements [deviceauth.Store]. It drops grants that have not been written,
// which a store without a flaw would write here.
func (b *behind) Close() error {
	b.mu.Lock()
	clear(b.waiting)
	b.mu.Unlock()
	return b.Storage.Close()
}
