package storetest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// WriteBehindBugs are mistakes of stores that write new grants behind the answer.
var WriteBehindBugs = []Bug{
	{"new grants are not written on Close", writesBehind(forgetsOnClose)},
	{"a new grant is written after its approval", writesBehind(writesTwice)},
	{"a reload loses what is pending", writesBehind(keepsToItself)},
}

// A flaw is what a behind does wrong.
type flaw int

const (
	forgetsOnClose flaw = iota // the rest is written in time
	writesTwice
	keepsToItself // until the end of the configuration that created the grant, which forgets it
)

// behind writes new grants behind the answer, on top of a good store, with a flaw.
type behind struct {
	deviceauth.Storage
	flaw    flaw
	mu      sync.Mutex
	waiting map[deviceauth.ID]*deviceauth.Grant
}

func writesBehind(f flaw) func(*broken) {
	return func(b *broken) {
		b.Storage = &behind{Storage: b.Storage, flaw: f, waiting: map[deviceauth.ID]*deviceauth.Grant{}}
	}
}

// Create implements [deviceauth.Store].
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

// write has the store below keep a grant, over what that has by now.
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

func (b *behind) waits(id deviceauth.ID) *deviceauth.Grant {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := b.waiting[id]; g != nil {
		own := *g
		return &own
	}
	return nil
}

// Get implements [deviceauth.Store].
func (b *behind) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if g := b.waits(id); g != nil {
		return g, nil
	}
	return b.Storage.Get(ctx, id)
}

// ByUserCode implements [deviceauth.Store].
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

// Update implements [deviceauth.Store].
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

// Close implements [deviceauth.Store].
func (b *behind) Close() error {
	b.mu.Lock()
	clear(b.waiting)
	b.mu.Unlock()
	return b.Storage.Close()
}
