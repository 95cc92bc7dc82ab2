package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A stop must not wait for a store that hangs, on a disk that is not there any more
// or a server that says nothing: http servers wait without end for requests that are
// under way, and those for the store. So a while after the process was told to exit
// nobody waits for the store any more, and what is under way is answered 503. Only
// the store knows how it went then, as where an answer is lost.

const (
	exitLook     = 50 * time.Millisecond  // how often it is looked whether the process is to exit
	exitPatience = 750 * time.Millisecond // for calls that are under way then
	callPatience = 100 * time.Millisecond // for each call after that
)

var errLeft = errors.New("the process is about to exit, and does not wait for the store")

// watchExit returns a channel that is closed some time after the process was told to
// exit, and what ends the watch.
func watchExit(exiting func() bool) (over <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	closed, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(exitLook)
		defer tick.Stop()
		for until := (time.Time{}); ; {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				switch {
				case until.IsZero() && exiting():
					until = now.Add(exitPatience)
				case !until.IsZero() && now.After(until):
					close(closed)
					return
				}
			}
		}
	}()
	return closed, func() { cancel(); <-done }
}

type answer[A any] struct {
	value A
	err   error
}

// await returns what a call returns, or errLeft once waiting is over, after left has
// been called. A panic of the call is an error: it would end the process, where
// net/http would have caught it.
func await[A any](over <-chan struct{}, left func(), call func() (A, error)) (A, error) {
	answers := make(chan answer[A], 1)
	go func() {
		var a answer[A]
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("panic in the store: %v\n%s", p, debug.Stack())
			}
			answers <- a
		}()
		a.value, a.err = call()
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-over:
	}
	timeout := time.NewTimer(callPatience)
	defer timeout.Stop()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-timeout.C:
		left()
		var none A
		return none, errLeft
	}
}

// A change is a function that a store calls back. It sees its caller's variables, so
// it must not run once the caller has left.
type change struct {
	mu   sync.Mutex
	left bool
}

func (c *change) run(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left {
		return errLeft
	}
	return do()
}

func (c *change) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
}

// boundedStorage is a store that nobody waits for when waiting is over.
type boundedStorage struct {
	deviceauth.Storage
	over  <-chan struct{}
	hangs *atomic.Bool // set when somebody has left
}

func (s boundedStorage) do(c *change, call func() error) error {
	left := func() { s.leave(); c.leave() }
	_, err := await(s.over, left, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func (s boundedStorage) leave() { s.hangs.Store(true) }

// Create implements [deviceauth.Store].
func (s boundedStorage) Create(ctx context.Context, g *deviceauth.Grant) error {
	own := *g
	return s.do(new(change), func() error { return s.Storage.Create(ctx, &own) })
}

// Get implements [deviceauth.Store]. What the store has in memory is not waited for.
func (s boundedStorage) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if recaller, ok := s.Storage.(deviceauth.Recaller); ok {
		if g := recaller.Recall(id); g != nil {
			return g, nil
		}
	}
	return await(s.over, s.leave, func() (*deviceauth.Grant, error) { return s.Storage.Get(ctx, id) })
}

// ByUserCode implements [deviceauth.Store].
func (s boundedStorage) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	return await(s.over, s.leave, func() (*deviceauth.Grant, error) { return s.Storage.ByUserCode(ctx, code) })
}

// ByOwner implements [deviceauth.Store].
func (s boundedStorage) ByOwner(ctx context.Context, owner string) ([]*deviceauth.Grant, error) {
	return await(s.over, s.leave, func() ([]*deviceauth.Grant, error) { return s.Storage.ByOwner(ctx, owner) })
}

type page struct {
	grants []*deviceauth.Grant
	next   string
}

// List implements [deviceauth.Store].
func (s boundedStorage) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	p, err := await(s.over, s.leave, func() (page, error) {
		grants, next, err := s.Storage.List(ctx, after, limit)
		return page{grants: grants, next: next}, err
	})
	return p.grants, p.next, err
}

// Update implements [deviceauth.Store].
func (s boundedStorage) Update(ctx context.Context, id deviceauth.ID, step func(*deviceauth.Grant) error) error {
	c := new(change)
	return s.do(c, func() error {
		return s.Storage.Update(ctx, id, func(g *deviceauth.Grant) error { return c.run(func() error { return step(g) }) })
	})
}

// LoadDocument implements [deviceauth.Documents].
func (s boundedStorage) LoadDocument(ctx context.Context, name string) ([]byte, error) {
	return await(s.over, s.leave, func() ([]byte, error) { return s.Storage.LoadDocument(ctx, name) })
}

// PutDocument implements [deviceauth.Documents].
func (s boundedStorage) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	return s.do(new(change), func() error { return s.Storage.PutDocument(ctx, name, document, until) })
}

// UpdateDocument implements [deviceauth.Documents].
func (s boundedStorage) UpdateDocument(ctx context.Context, name string, step func([]byte) ([]byte, error)) error {
	c := new(change)
	return s.do(c, func() error {
		return s.Storage.UpdateDocument(ctx, name, func(old []byte) (document []byte, err error) {
			err = c.run(func() (err error) { document, err = step(old); return err })
			return document, err
		})
	})
}

// boundedCluster is the same of a store that gateways share.
type boundedCluster struct {
	boundedStorage
	shared deviceauth.Cluster
}

// OnChange implements [deviceauth.Cluster].
func (s boundedCluster) OnChange(listener func(deviceauth.ID)) { s.shared.OnChange(listener) }

type pace struct {
	early    bool
	interval time.Duration
}

// RecordPoll implements [deviceauth.Cluster].
func (s boundedCluster) RecordPoll(ctx context.Context, a deviceauth.Poll) (bool, time.Duration, error) {
	p, err := await(s.over, s.leave, func() (p pace, err error) {
		p.early, p.interval, err = s.shared.RecordPoll(ctx, a)
		return p, err
	})
	return p.early, p.interval, err
}

// CountUp implements [deviceauth.Cluster].
func (s boundedCluster) CountUp(ctx context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	return await(s.over, s.leave, func() (deviceauth.Count, error) { return s.shared.CountUp(ctx, key, window) })
}

// CountDown implements [deviceauth.Cluster].
func (s boundedCluster) CountDown(ctx context.Context, key string) error {
	return s.do(new(change), func() error { return s.shared.CountDown(ctx, key) })
}

var _ deviceauth.Cluster = boundedCluster{}
