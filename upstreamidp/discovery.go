package upstreamidp

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Bounds of the pause after a failed discovery: long enough to spare a
// provider that is coming up, short enough not to be noticed.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// recent is how long a provider that answered passes for one that can be
// reached, and its metadata for true whatever fails.
const recent = 15 * time.Second

// current is how long metadata are used before the provider is asked for them
// again. Until it answers, the old ones count: a provider changes its metadata
// less often than it is away.
const current = time.Hour

// A cachedDiscovery is what is known of a provider: nothing, an answer that is kept,
// or a failure that is remembered for a moment.
type cachedDiscovery struct {
	ask     func() (*discovered, error)
	now     func() time.Time         // nil: time.Now
	changed func(*discovered, error) // hears of metadata that are new, and of failures; may be nil
	mu      sync.Mutex
	found   *discovered // the last good answer, whatever was answered after it
	asked   time.Time   // when it was given

	doubted bool            // something failed that newer metadata may mend
	failure error           // of the last look; nil where it was answered
	retry   time.Time       // not before; the failure is told until then
	pause   time.Duration   // after the last failure
	looking *discoveryFetch // under way
}

// A discoveryFetch is one attempt, and after ended is closed, its outcome.
type discoveryFetch struct {
	ended chan struct{}
	found *discovered
	err   error
}

// get returns what the provider said of itself. All who ask at once share one
// request; one who gives up takes nothing from the others. Old metadata are
// looked at again while they are used; doubted ones are waited for.
func (d *cachedDiscovery) get(ctx context.Context) (*discovered, error) {
	d.mu.Lock()
	known, age, doubted := d.found, d.clock().Sub(d.asked), d.doubted
	d.mu.Unlock()
	if known != nil && age < current && !doubted {
		return known, nil
	}
	l := d.join(func() bool { return false })
	if known != nil && !doubted {
		return known, nil
	}
	found, err := d.wait(ctx, l)
	if err != nil && known != nil {
		return known, nil
	}
	return found, err
}

// doubt has the provider asked anew before the next sign-in: an endpoint or the
// keys may be elsewhere now. Those of a moment ago are not doubted, so that a
// provider that refuses all requests is not asked at every sign-in.
func (d *cachedDiscovery) doubt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doubted = d.doubted || d.clock().Sub(d.asked) >= recent
}

// reach asks anew, unless the provider answered a moment ago.
func (d *cachedDiscovery) reach(ctx context.Context) error {
	_, err := d.wait(ctx, d.join(func() bool {
		return d.found != nil && d.failure == nil && d.clock().Sub(d.asked) < recent
	}))
	return err
}

// wait returns the outcome of a fetch. A caller that gives up leaves the fetch
// running for the others.
func (d *cachedDiscovery) wait(ctx context.Context, l *discoveryFetch) (*discovered, error) {
	select {
	case <-l.ended:
		return l.found, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("discovery: %w", ctx.Err())
	}
}

// join returns the look to wait for, which may have ended long ago where what
// is known is enough.
func (d *cachedDiscovery) join(enough func() bool) *discoveryFetch {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case enough():
		return &discoveryFetch{ended: closed, found: d.found}
	case d.looking != nil:
		return d.looking
	case d.clock().Before(d.retry):
		return &discoveryFetch{ended: closed, err: d.failure}
	}
	d.looking = &discoveryFetch{ended: make(chan struct{})}
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
func (d *cachedDiscovery) run(l *discoveryFetch) {
	l.found, l.err = d.ask()
	if changed := d.ended(l); changed && d.changed != nil {
		d.changed(l.found, l.err)
	}
	close(l.ended)
}

// ended remembers how a look ended, and reports whether that is news. Metadata
// that are the same stay what they were, with the keys that have been fetched.
func (d *cachedDiscovery) ended(l *discoveryFetch) (news bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failure, d.looking = l.err, nil
	if l.err != nil {
		d.pause = min(max(firstPause, 2*d.pause), maxPause)
		d.retry = d.clock().Add(d.pause)
		return true
	}
	news = d.found == nil || d.found.document != l.found.document
	if !news {
		l.found = d.found
	}
	d.found, d.asked, d.pause, d.doubted = l.found, d.clock(), 0, false
	return news
}

// clock is the time. Tests outside of a synctest bubble set their own clock.
func (d *cachedDiscovery) clock() time.Time {
	if d.now == nil {
		return time.Now()
	}
	return d.now()
}
