package upstreamidp

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Bounds of the pause after a failed discovery: long enough to spare a
// provider that is coming up, short enough that nobody notices.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// recent is how long a provider that answered passes for one that can be
// reached.
const recent = 15 * time.Second

// A discovery is what is known of a provider: nothing, an answer that is kept,
// or a failure that is remembered for a moment.
type discovery struct {
	ask func() (*discovered, error)
	now func() time.Time // nil: time.Now

	mu      sync.Mutex
	found   *discovered   // the last answer, whatever came after it
	asked   time.Time     // when it came
	failure error         // of the last look; nil where it was answered
	retry   time.Time     // not before; the failure is told until then
	pause   time.Duration // after the last failure
	looking *look         // under way
}

// A look is one attempt, and after ended is closed, its outcome.
type look struct {
	ended chan struct{}
	found *discovered
	err   error
}

// get returns what the provider said of itself, however long ago. All who ask
// at once share one request; one who gives up takes nothing from the others.
func (d *discovery) get(ctx context.Context) (*discovered, error) {
	return d.wait(ctx, d.join(func() bool { return d.found != nil }))
}

// reach asks anew, unless the provider answered a moment ago.
func (d *discovery) reach(ctx context.Context) error {
	_, err := d.wait(ctx, d.join(func() bool { return d.found != nil && d.failure == nil && d.clock().Sub(d.asked) < recent }))
	return err
}

func (d *discovery) wait(ctx context.Context, l *look) (*discovered, error) {
	select {
	case <-l.ended:
		return l.found, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("discovery: %w", ctx.Err())
	}
}

// join returns the look to wait for, which may have ended long ago where what
// is known is enough.
func (d *discovery) join(enough func() bool) *look {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case enough():
		return &look{ended: closed, found: d.found}
	case d.looking != nil:
		return d.looking
	case d.clock().Before(d.retry):
		return &look{ended: closed, err: d.failure}
	}
	d.looking = &look{ended: make(chan struct{})}
	go d.run(d.looking)
	return d.looking
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// run asks the provider once. It outlives the request that caused it; the HTTP
// client's time-out ends it.
func (d *discovery) run(l *look) {
	l.found, l.err = d.ask()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure, d.looking = l.err, nil
	if l.err == nil {
		d.found, d.asked, d.pause = l.found, d.clock(), 0
	} else {
		d.pause = min(max(firstPause, 2*d.pause), maxPause)
		d.retry = d.clock().Add(d.pause)
	}
	close(l.ended)
}

func (d *discovery) clock() time.Time {
	if d.now == nil {
		return time.Now()
	}
	return d.now()
}
