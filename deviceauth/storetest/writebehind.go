package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// WriteBehindBugs are mistakes of stores that write new grants behind the answer. None
// is seen by [Checks] for certain: those neither close a store nor open it twice.
var WriteBehindBugs = []Bug{
	{Name: "new grants are not written on Close", put: writesBehind(forgetsOnClose)},
	{Name: "a new grant is written after its approval", put: writesBehind(writesTwice)},
	{Name: "a reload loses what is pending", put: writesBehind(keepsToItself)},
}

// A flaw is what a behind does wrong.
type flaw int

const (
	forgetsOnClose flaw = iota // the rest is written in time
	writesTwice                // at the decision, and once more when the delay has passed
	keepsToItself              // until the end of the configuration that created the grant, which forgets it
)

// behind writes new grants behind the answer, on top of a good store, with a flaw.
type behind struct {
	deviceauth.Storage
	flaw    flaw
	mu      sync.Mutex
	waiting map[deviceauth.ID]*deviceauth.Grant
}

// writesBehind returns the put of a [Bug]: it keeps new grants back from the good store.
// The good store takes them when the delay has passed, or when a method asks it to.
func writesBehind(f flaw) func(*broken) {
	return func(b *broken) {
		b.Storage = &behind{Storage: b.Storage, flaw: f, waiting: map[deviceauth.ID]*deviceauth.Grant{}}
	}
}

// Create implements [deviceauth.Store]. It takes every user code, because no durable
// check creates two grants with one.
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

// write has the store below keep a grant, over what that has by now: it is the mistake
// of writesTwice not to look, and the others never have another record there.
func (b *behind) write(ctx context.Context, id deviceauth.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	g := b.waiting[id]
	if g == nil {
		return nil
	}
	delete(b.waiting, id)
	err := b.Storage.Create(ctx, g)
	if _, lookup := b.Storage.Get(ctx, id); lookup == nil { // whatever Create thinks of it
		return write(ctx, b.Storage, g)
	}
	return err
}

// waits returns the caller's own copy of a grant that is not written yet, or nil.
func (b *behind) waits(id deviceauth.ID) *deviceauth.Grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.waiting[id]; g != nil {
		own := *g
		return &own
	}
	return nil
}

// Get implements [deviceauth.Store]. A poll finds what waits: the flaws are about what
// comes after.
func (b *behind) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if g := b.waits(id); g != nil {
		return g, nil
	}
	return b.Storage.Get(ctx, id)
}

// ByUserCode implements [deviceauth.Store]. A search is fast enough: a check has one or
// two grants.
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

// Update implements [deviceauth.Store]. Right is to write the grant first, so that the
// change finds it and no later write goes over the change.
func (b *behind) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if b.flaw != writesTwice {
		return errors.Join(b.write(ctx, id), b.Storage.Update(ctx, id, change))
	}
	if g := b.waits(id); g != nil {
		if err := b.Storage.Create(ctx, g); err != nil {
			return err
		}
	}
	return b.Storage.Update(ctx, id, change) // and the grant waits on
}

// Close implements [deviceauth.Store]. It forgets what waits, which a store without a
// flaw would write here.
func (b *behind) Close() error {
	b.mu.Lock()
	clear(b.waiting)
	b.mu.Unlock()
	return b.Storage.Close()
}
