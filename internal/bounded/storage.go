package bounded

import (
	"context"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// An Operation is a kind of call that is measured. It is the index of its name in
// [Operations].
type Operation int

const (
	opCreate Operation = iota
	opGet
	opByUserCode
	opByOwner
	opList
	opUpdate
	opLoad
	opKeep
	opChange
)

// Operations returns the names of all operations. They are part of the public interface,
// as values of a metric's label.
func Operations() []string {
	return []string{
		opCreate: "create", opGet: "get", opByUserCode: "by_user_code", opByOwner: "by_owner", opList: "list",
		opUpdate: "update", opLoad: "load", opKeep: "keep", opChange: "change",
	}
}

// Storage returns the store with calls that can be abandoned. observe, unless it is nil,
// is called with the duration of each of the [Operations].
func (s *Store) Storage(observe func(operation Operation, took time.Duration)) deviceauth.Storage {
	return storage{store: s, observe: observe}
}

// storage is a store whose calls are abandoned during a shutdown.
type storage struct {
	store   *Store
	observe func(operation Operation, took time.Duration) // nil: calls are not measured
}

// measure reports the end of an operation that began at a certain time. It is deferred,
// because an operation may panic.
func (s storage) measure(operation Operation, began time.Time) {
	if s.observe != nil {
		s.observe(operation, time.Since(began))
	}
}

// find runs a call that finds something by a key.
func find[K, A any](ctx context.Context, s storage, call func(context.Context, K) (A, error), key K) (A, error) {
	return callUntil(s.store.deadline, s.store.abandon, func() (A, error) { return call(ctx, key) })
}

// do runs a call that only returns an error; c guards its callback, and is nil if it has
// none.
func (s storage) do(c *change, call func() error) error {
	abandoned := func() { s.store.abandon(); c.abandon() }
	_, err := callUntil(s.store.deadline, abandoned, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Close implements [deviceauth.Store]. It closes the opened store at once; the Close of
// [Store], which waits for uses, is for the owner of the Store.
func (s storage) Close() error { return s.store.opened.Close() }

// Create implements [deviceauth.Store]. If the store accepts the grant in memory, no
// goroutine is needed.
func (s storage) Create(ctx context.Context, g *deviceauth.Grant) error {
	defer s.measure(opCreate, time.Now())
	if admitter, ok := s.store.opened.(deviceauth.Admitter); ok {
		if done, err := admitter.Admit(g); done {
			return err
		}
	}
	// The store gets a copy, because the caller may use its grant again after an
	// abandoned call.
	own := *g
	return s.do(nil, func() error { return s.store.opened.Create(ctx, &own) })
}

// Get implements [deviceauth.Store]. If the store has the grant in memory, no
// goroutine is needed.
func (s storage) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	defer s.measure(opGet, time.Now())
	if recaller, ok := s.store.opened.(deviceauth.Recaller); ok {
		if g := recaller.Recall(id); g != nil {
			return g, nil
		}
	}
	// Every request at a guard comes here, so it does without the additional closure of
	// find.
	return callUntil(s.store.deadline, s.store.abandon, func() (*deviceauth.Grant, error) {
		return s.store.opened.Get(ctx, id)
	})
}

// ByUserCode implements [deviceauth.Store].
func (s storage) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	defer s.measure(opByUserCode, time.Now())
	return find(ctx, s, s.store.opened.ByUserCode, code)
}

// ByOwner implements [deviceauth.Store].
func (s storage) ByOwner(ctx context.Context, owner string) ([]*deviceauth.Grant, error) {
	defer s.measure(opByOwner, time.Now())
	return find(ctx, s, s.store.opened.ByOwner, owner)
}

// A page is the result of List as a single value, for callUntil.
type page struct {
	grants []*deviceauth.Grant
	next   string
}

// List implements [deviceauth.Store].
func (s storage) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	defer s.measure(opList, time.Now())
	p, err := callUntil(s.store.deadline, s.store.abandon, func() (page, error) {
		grants, next, err := s.store.opened.List(ctx, after, limit)
		return page{grants: grants, next: next}, err
	})
	return p.grants, p.next, err
}

// Update implements [deviceauth.Store].
func (s storage) Update(ctx context.Context, id deviceauth.ID, step func(*deviceauth.Grant) error) error {
	defer s.measure(opUpdate, time.Now())
	c := new(change)
	return s.do(c, func() error {
		return s.store.opened.Update(ctx, id, func(g *deviceauth.Grant) error {
			return c.run(func() error { return step(g) })
		})
	})
}

// LoadDocument implements [deviceauth.Documents].
func (s storage) LoadDocument(ctx context.Context, name string) ([]byte, error) {
	defer s.measure(opLoad, time.Now())
	return find(ctx, s, s.store.opened.LoadDocument, name)
}

// PutDocument implements [deviceauth.Documents].
func (s storage) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	defer s.measure(opKeep, time.Now())
	return s.do(nil, func() error { return s.store.opened.PutDocument(ctx, name, document, until) })
}

// UpdateDocument implements [deviceauth.Documents].
func (s storage) UpdateDocument(ctx context.Context, name string, step func([]byte) ([]byte, error)) error {
	defer s.measure(opChange, time.Now())
	c := new(change)
	return s.do(c, func() error {
		// The result of step is used only if the callback ran before the call was
		// abandoned.
		return s.store.opened.UpdateDocument(ctx, name, func(old []byte) (document []byte, err error) {
			err = c.run(func() (err error) { document, err = step(old); return err })
			return document, err
		})
	})
}

// Cluster returns the store with calls that can be abandoned, if several gateways share
// it. Else it returns nil.
func (s *Store) Cluster() deviceauth.Cluster {
	shared, ok := s.opened.(deviceauth.Cluster)
	if !ok {
		return nil
	}
	return cluster{storage: storage{store: s}, shared: shared}
}

// cluster is a storage that several gateways share.
type cluster struct {
	storage
	shared deviceauth.Cluster
}

// OnChange implements [deviceauth.Cluster].
func (c cluster) OnChange(listener func(deviceauth.ID)) { c.shared.OnChange(listener) }

// RecordPoll implements [deviceauth.Cluster].
func (c cluster) RecordPoll(ctx context.Context, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	return find(ctx, c.storage, c.shared.RecordPoll, p)
}

// SetInterval implements [deviceauth.Cluster].
func (c cluster) SetInterval(ctx context.Context, id deviceauth.ID, from, to time.Duration) (time.Duration, error) {
	return callUntil(c.store.deadline, c.store.abandon, func() (time.Duration, error) {
		return c.shared.SetInterval(ctx, id, from, to)
	})
}

// CountUp implements [deviceauth.Cluster].
func (c cluster) CountUp(ctx context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	return callUntil(c.store.deadline, c.store.abandon, func() (deviceauth.Count, error) {
		return c.shared.CountUp(ctx, key, window)
	})
}

// CountDown implements [deviceauth.Cluster].
func (c cluster) CountDown(ctx context.Context, key string) error {
	return c.do(nil, func() error { return c.shared.CountDown(ctx, key) })
}
