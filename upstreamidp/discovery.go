package upstreamidp

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Limits of the pause after a failed discovery: long enough to spare a provider that
// is starting, short enough not to be noticed.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// recent is how long a provider that responded counts as reachable, and its metadata
// as valid even if something fails.
const recent = 15 * time.Second

// current is how long metadata are used before they are fetched again. Until that
// succeeds the old ones are used: a provider changes its metadata less often than it
// is unavailable.
const current = time.Hour

// A cachedDiscovery caches the metadata of a provider, or for a short time the
// failure to fetch them.
type cachedDiscovery struct {
	ask     func() (*discovered, error)
	now     func() time.Time         // nil: time.Now
	changed func(*discovered, error) // called with new metadata, and with failures; may be nil
	mu      sync.Mutex
	found   *discovered // the latest metadata, even if a later fetch failed
	asked   time.Time   // when they were fetched

	doubted bool            // a failure may be due to outdated metadata
	failure error           // of the latest fetch; nil if it succeeded
	retry   time.Time       // not before this time; until then failure is returned
	pause   time.Duration   // after the last failure
	looking *discoveryFetch // the fetch in progress; nil: none
}

// A discoveryFetch is one fetch. Its result is set before ended is closed.
type discoveryFetch struct {
	ended chan struct{}
	found *discovered
	err   error
}

// get returns the metadata. Simultaneous callers share one fetch, which continues if
// one of them gives up. Old metadata are returned while they are being fetched again;
// if they are in doubt, get waits for the fetch.
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

// doubt makes the next sign-in fetch the metadata again: an endpoint or the keys may
// have moved. Recent metadata are not doubted, so that a provider that refuses all
// requests does not get one more at every sign-in.
func (d *cachedDiscovery) doubt() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.doubted = d.doubted || d.clock().Sub(d.asked) >= recent
}

// reach fetches the metadata, unless the provider responded recently.
func (d *cachedDiscovery) reach(ctx context.Context) error {
	_, err := d.wait(ctx, d.join(func() bool {
		return d.found != nil && d.failure == nil && d.clock().Sub(d.asked) < recent
	}))
	return err
}

// wait waits for the result of a fetch. If a caller gives up, the fetch continues for
// the others.
func (d *cachedDiscovery) wait(ctx context.Context, l *discoveryFetch) (*discovered, error) {
	select {
	case <-l.ended:
		return l.found, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("discovery: %w", ctx.Err())
	}
}

// join returns the fetch to wait for. It may have ended already, if enough reports
// that the cached metadata suffice, or during the pause after a failure.
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

// run fetches the metadata once. It outlives the request that caused it; the HTTP
// client's timeout ends it.
func (d *cachedDiscovery) run(l *discoveryFetch) {
	l.found, l.err = d.ask()
	if changed := d.ended(l); changed && d.changed != nil {
		d.changed(l.found, l.err)
	}
	close(l.ended)
}

// ended stores the result of a fetch, and reports whether it is news. If the metadata
// are unchanged the old value is kept, with the keys that it has fetched.
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

// clock returns the current time. Tests that do not run in a synctest bubble set
// their own clock.
func (d *cachedDiscovery) clock() time.Time {
	if d.now == nil {
		return time.Now()
	}
	return d.now()
}
