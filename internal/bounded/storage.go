package bounded

import (
	"context"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Operations returns the names with which a storage reports its calls. They are part of
// the public interface, as values of a metric's label.
func Operations() []string {
	return []string{"create", "get", "by_user_code", "by_owner", "list", "update", "load", "keep", "change"}
}

// Storage returns the store with calls that can be abandoned. observe, unless it is nil,
// is called with the duration of each of the [Operations].
func (s *Store) Storage(observe func(operation string, took time.Duration)) deviceauth.Storage {
	return storage{Store: s, observe: observe}
}

// storage is a store whose calls are abandoned during a shutdown.
type storage struct {
	*Store
	observe func(operation string, took time.Duration) // nil: calls are not measured
}

// measure reports the end of an operation that began at a certain time. It is deferred,
// because an operation may panic.
func (s storage) measure(operation string, began time.Time) {
	if s.observe != nil {
		s.observe(operation, time.Since(began))
	}
}

// find runs a call that finds something by a key.
func find[K, A any](ctx context.Context, s storage, call func(context.Context, K) (A, error), key K) (A, error) {
	return callUntil(s.deadline, s.abandon, func() (A, error) { return call(ctx, key) })
}

// do runs a call that only returns an error; c guards its callback, and is nil if it has
// none.
func (s storage) do(c *change, call func() error) error {
	abandoned := func() { s.abandon(); c.abandon() }
	_, err := callUntil(s.deadline, abandoned, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// Create implements [deviceauth.Store]. If the store accepts the grant in memory, no
// goroutine is needed.
func (s storage) Create(ctx context.Context, g *deviceauth.Grant) error {
	defer s.measure("create", time.Now())
	if admitter, ok := s.opened.(deviceauth.Admitter); ok {
		if done, err := admitter.Admit(g); done {
			return err
		}
	}
	// The store gets a copy, because the caller may use its grant again after an
	// abandoned call.
	own := *g
	return s.do(nil, func() error { return s.opened.Create(ctx, &own) })
}

// Get implements [deviceauth.Store]. If the store has the grant in memory, no
// goroutine is needed.
func (s storage) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	defer s.measure("get", time.Now())
	if recaller, ok := s.opened.(deviceauth.Recaller); ok {
		if g := recaller.Recall(id); g != nil {
			return g, nil
		}
	}
	return find(ctx, s, s.opened.Get, id)
}

// ByUserCode implements [deviceauth.Store].
func (s storage) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	defer s.measure("by_user_code", time.Now())
	return find(ctx, s, s.opened.ByUserCode, code)
}

// ByOwner implements [deviceauth.Store].
func (s storage) ByOwner(ctx context.Context, owner string) ([]*deviceauth.Grant, error) {
	defer s.measure("by_owner", time.Now())
	return find(ctx, s, s.opened.ByOwner, owner)
}

// A page is the result of List as a single value, for callUntil.
type page struct {
	grants []*deviceauth.Grant
	next   string
}

// List implements [deviceauth.Store].
func (s storage) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	defer s.measure("list", time.Now())
	p, err := callUntil(s.deadline, s.abandon, func() (page, error) {
		grants, next, err := s.opened.List(ctx, after, limit)
		return page{grants: grants, next: next}, err
	})
	return p.grants, p.next, err
}

// Update implements [deviceauth.Store].
func (s storage) Update(ctx context.Context, id deviceauth.ID, step func(*deviceauth.Grant) error) error {
	defer s.measure("update", time.Now())
	c := new(change)
	return s.do(c, func() error {
		return s.opened.Update(ctx, id, func(g *deviceauth.Grant) error {
			return c.run(func() error { return step(g) })
		})
	})
}

// LoadDocument implements [deviceauth.Documents].
func (s storage) LoadDocument(ctx context.Context, name string) ([]byte, error) {
	defer s.measure("load", time.Now())
	return find(ctx, s, s.opened.LoadDocument, name)
}

// PutDocument implements [deviceauth.Documents].
func (s storage) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	defer s.measure("keep", time.Now())
	return s.do(nil, func() error { return s.opened.PutDocument(ctx, name, document, until) })
}

// UpdateDocument implements [deviceauth.Documents].
func (s storage) UpdateDocument(ctx context.Context, name string, step func([]byte) ([]byte, error)) error {
	defer s.measure("change", time.Now())
	c := new(change)
	return s.do(c, func() error {
		// The result of step is used only if the callback ran before the call was
		// abandoned.
		return s.opened.UpdateDocument(ctx, name, func(old []byte) (document []byte, err error) {
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
	return cluster{storage: storage{Store: s}, shared: shared}
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
	return callUntil(c.deadline, c.abandon, func() (time.Duration, error) {
		return c.shared.SetInterval(ctx, id, from, to)
	})
}

// CountUp implements [deviceauth.Cluster].
func (c cluster) CountUp(ctx context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	return callUntil(c.deadline, c.abandon, func() (deviceauth.Count, error) {
		return c.shared.CountUp(ctx, key, window)
	})
}

// CountDown implements [deviceauth.Cluster].
func (c cluster) CountDown(ctx context.Context, key string) error {
	return c.do(nil, func() error { return c.shared.CountDown(ctx, key) })
}
