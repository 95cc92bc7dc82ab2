package bounded

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

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

// abandon prevents the callback from running. Without a callback, c is nil.
func (c *change) abandon() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.abandoned = true
}
