// Package probe shares a check, such as that of a store, among all who ask whether it
// works: anyone may ask any number of times, so the check must not run each time, and one
// that hangs must not be started again. It decides when a check runs, and how long its
// callers wait; what is checked is given to it. The health check of caddymodule calls it.
package probe

import (
	"context"
	"sync"
	"time"
)

// These are the time limit of a check, and how long its result is reused.
const (
	Wait  = time.Second
	Reuse = 250 * time.Millisecond
)

// A Probe shares one check among simultaneous callers.
type Probe struct {
	Run    func(context.Context) error // the check, which may hang even after its context has ended
	Silent error                       // the result of a check that does not end in time

	mu   sync.Mutex
	last *check // in progress, or the latest that has ended
}

// A check is one call of Run. Once done is closed, ended and err are its
// result and do not change.
type check struct {
	began time.Time
	done  chan struct{}
	ended time.Time
	err   error
}

// Check returns the result of the check, after Wait at the latest. If a
// check hangs, only the first callers wait: later ones get Silent
// immediately, and no second check begins before the first has ended.
func (p *Probe) Check(ctx context.Context) error {
	// The wait counts from the start of the check, so that callers who join late
	// wait no longer than the first.
	l := p.join()
	timeout := time.NewTimer(time.Until(l.began.Add(Wait)))
	defer timeout.Stop()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
	case <-timeout.C:
		select {
		case <-l.done: // it ended at the same moment
			return l.err
		default:
		}
	}
	return p.Silent
}

// join returns the check to wait for: the one in progress, a recent one, or a new
// one.
func (p *Probe) join() *check {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.last; l != nil {
		// A check in progress is joined, however long it takes; one that has ended is
		// reused for Reuse.
		select {
		case <-l.done:
			if time.Since(l.ended) < Reuse {
				return l
			}
		default:
			return l
		}
	}
	l := &check{began: time.Now(), done: make(chan struct{})}
	p.last = l
	go func() { // independent of the caller's context, because others wait for the same result
		ctx, cancel := context.WithTimeout(context.Background(), Wait)
		defer cancel()
		l.err = p.Run(ctx)
		l.ended = time.Now()
		close(l.done)
	}()
	return l
}
