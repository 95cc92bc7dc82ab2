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

// The process must be able to exit even if a store hangs, because of a failed disk or
// a server that does not respond: Caddy's http servers wait for requests in progress,
// and these wait for the store. So some time after the shutdown began, calls to the
// store are abandoned, and their requests are answered with 503. An abandoned call
// may or may not have taken effect, as when a response is lost on the network.

const (
	exitPollInterval = 50 * time.Millisecond  // how often to check whether the process is shutting down
	exitTimeout      = 750 * time.Millisecond // after the shutdown began, for calls in progress
	callTimeout      = 100 * time.Millisecond // for each call after that
)

// errAbandoned is the error of a call that was abandoned during a shutdown.
var errAbandoned = errors.New("the process is about to exit, and does not wait for the store")

// watchExit returns a channel that is closed exitTimeout after the shutdown of the
// process began, and a function that ends the watch. It polls every exitPollInterval
// because Caddy does not notify of a shutdown.
func watchExit(exiting func() bool) (deadline <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	closed, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(exitPollInterval)
		defer tick.Stop()
		for until := (time.Time{}); ; {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				// The first tick after the shutdown began sets the deadline; the
				// first tick after the deadline ends the wait of all calls.
				switch {
				case until.IsZero() && exiting():
					until = now.Add(exitTimeout)
				case !until.IsZero() && now.After(until):
					close(closed)
					return
				}
			}
		}
	}()
	return closed, func() { cancel(); <-done }
}

// A callResult is the result of a call, for a channel.
type callResult[A any] struct {
	value A
	err   error
}

// callUntil calls a function and returns its result. Once deadline is closed and
// callTimeout has passed, it calls abandoned and returns errAbandoned instead, while
// the call continues in its goroutine. It turns a panic of the call into an error:
// net/http does not recover panics of other goroutines, so it would end the process.
func callUntil[A any](deadline <-chan struct{}, abandoned func(), call func() (A, error)) (A, error) {
	results := make(chan callResult[A], 1)
	go func() {
		var a callResult[A]
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("panic in the store: %v\n%s", p, debug.Stack())
			}
			results <- a
		}()
		a.value, a.err = call()
	}()
	select {
	case a := <-results:
		return a.value, a.err
	case <-deadline:
	}
	// Calls that begin during a shutdown get a short time of their own, in which a
	// store that works returns.
	timeout := time.NewTimer(callTimeout)
	defer timeout.Stop()
	select {
	case a := <-results:
		return a.value, a.err
	case <-timeout.C:
		abandoned()
		var none A
		return none, errAbandoned
	}
}

// A change guards a function that a store calls back. The function uses variables of
// its caller, so it must not run after the caller has abandoned the call and
// returned.
type change struct {
	mu        sync.Mutex
	abandoned bool
}

// run runs the callback, unless the call was abandoned. It holds the lock meanwhile,
// so that abandon waits for a running callback.
func (c *change) run(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.abandoned {
		return errAbandoned
	}
	return do()
}

// abandon prevents the callback from running.
func (c *change) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abandoned = true
}

// boundedStorage is a store whose calls are abandoned during a shutdown.
type boundedStorage struct {
	deviceauth.Storage
	deadline <-chan struct{}
	hung     *atomic.Bool // set when a call is abandoned
}

// do runs a call that only returns an error; c guards its callback.
func (s boundedStorage) do(c *change, call func() error) error {
	abandoned := func() { s.abandon(); c.abandon() }
	_, err := callUntil(s.deadline, abandoned, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

// abandon records that a call was abandoned, so that Destruct waits less for a store
// that hangs.
func (s boundedStorage) abandon() { s.hung.Store(true) }

// Create implements [deviceauth.Store]. If the store accepts the grant in memory, no
// goroutine is needed.
func (s boundedStorage) Create(ctx context.Context, g *deviceauth.Grant) error {
	if admitter, ok := s.Storage.(deviceauth.Admitter); ok {
		if done, err := admitter.Admit(g); done {
			return err
		}
	}
	// The store gets a copy, because the caller may use its grant again after an
	// abandoned call.
	own := *g
	return s.do(new(change), func() error { return s.Storage.Create(ctx, &own) })
}

// Get implements [deviceauth.Store]. If the store has the grant in memory, no
// goroutine is needed.
func (s boundedStorage) Get(ctx context.Context, id deviceauth.ID) (*deviceauth.Grant, error) {
	if recaller, ok := s.Storage.(deviceauth.Recaller); ok {
		if g := recaller.Recall(id); g != nil {
			return g, nil
		}
	}
	return callUntil(s.deadline, s.abandon, func() (*deviceauth.Grant, error) { return s.Storage.Get(ctx, id) })
}

// ByUserCode implements [deviceauth.Store].
func (s boundedStorage) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	return callUntil(s.deadline, s.abandon, func() (*deviceauth.Grant, error) {
		return s.Storage.ByUserCode(ctx, code)
	})
}

// ByOwner implements [deviceauth.Store].
func (s boundedStorage) ByOwner(ctx context.Context, owner string) ([]*deviceauth.Grant, error) {
	return callUntil(s.deadline, s.abandon, func() ([]*deviceauth.Grant, error) {
		return s.Storage.ByOwner(ctx, owner)
	})
}

// A page is the result of List as a single value, for callUntil.
type page struct {
	grants []*deviceauth.Grant
	next   string
}

// List implements [deviceauth.Store].
func (s boundedStorage) List(ctx context.Context, after string, limit int) ([]*deviceauth.Grant, string, error) {
	p, err := callUntil(s.deadline, s.abandon, func() (page, error) {
		grants, next, err := s.Storage.List(ctx, after, limit)
		return page{grants: grants, next: next}, err
	})
	return p.grants, p.next, err
}

// Update implements [deviceauth.Store].
func (s boundedStorage) Update(ctx context.Context, id deviceauth.ID, step func(*deviceauth.Grant) error) error {
	c := new(change)
	return s.do(c, func() error {
		return s.Storage.Update(ctx, id, func(g *deviceauth.Grant) error {
			return c.run(func() error { return step(g) })
		})
	})
}

// LoadDocument implements [deviceauth.Documents].
func (s boundedStorage) LoadDocument(ctx context.Context, name string) ([]byte, error) {
	return callUntil(s.deadline, s.abandon, func() ([]byte, error) { return s.Storage.LoadDocument(ctx, name) })
}

// PutDocument implements [deviceauth.Documents].
func (s boundedStorage) PutDocument(ctx context.Context, name string, document []byte, until time.Time) error {
	return s.do(new(change), func() error { return s.Storage.PutDocument(ctx, name, document, until) })
}

// UpdateDocument implements [deviceauth.Documents].
func (s boundedStorage) UpdateDocument(ctx context.Context, name string, step func([]byte) ([]byte, error)) error {
	c := new(change)
	return s.do(c, func() error {
		// The result of step is used only if the callback ran before the call was
		// abandoned.
		return s.Storage.UpdateDocument(ctx, name, func(old []byte) (document []byte, err error) {
			err = c.run(func() (err error) { document, err = step(old); return err })
			return document, err
		})
	})
}

// boundedCluster is a boundedStorage for a store that several gateways share.
type boundedCluster struct {
	boundedStorage
	shared deviceauth.Cluster
}

// OnChange implements [deviceauth.Cluster].
func (s boundedCluster) OnChange(listener func(deviceauth.ID)) { s.shared.OnChange(listener) }

// RecordPoll implements [deviceauth.Cluster].
func (s boundedCluster) RecordPoll(ctx context.Context, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	return callUntil(s.deadline, s.abandon, func() (deviceauth.PollRecord, error) {
		return s.shared.RecordPoll(ctx, p)
	})
}

// SetInterval implements [deviceauth.Cluster].
func (s boundedCluster) SetInterval(
	ctx context.Context, id deviceauth.ID, from, to time.Duration,
) (time.Duration, error) {
	return callUntil(s.deadline, s.abandon, func() (time.Duration, error) {
		return s.shared.SetInterval(ctx, id, from, to)
	})
}

// CountUp implements [deviceauth.Cluster].
func (s boundedCluster) CountUp(ctx context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	return callUntil(s.deadline, s.abandon, func() (deviceauth.Count, error) {
		return s.shared.CountUp(ctx, key, window)
	})
}

// CountDown implements [deviceauth.Cluster].
func (s boundedCluster) CountDown(ctx context.Context, key string) error {
	return s.do(new(change), func() error { return s.shared.CountDown(ctx, key) })
}

var _ deviceauth.Cluster = boundedCluster{}
