package caddymodule

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A grantCounter counts the grants of a store for the metrics. Counting reads the
// whole store. So it runs in the background, only after the metrics were
// scraped, and then rests for countShare times as long as it took: it never
// costs more than a hundredth of a core.
type grantCounter struct {
	wanted chan struct{} // has a value after a scrape
	last   atomic.Pointer[map[deviceauth.Standing]int]
	rested time.Time // when the next count may begin; used by count alone
}

const (
	countInterval = time.Minute // the least time between two counts
	countShare    = 100         // rest for so many times the duration of a count
)

// newGrantCounter returns a counter that has counted nothing yet.
func newGrantCounter() *grantCounter { return &grantCounter{wanted: make(chan struct{}, 1)} }

// latest returns the latest count, nil before the first, and requests another. It
// never blocks: a scrape must not wait for the store.
func (c *grantCounter) latest() map[deviceauth.Standing]int {
	select {
	case c.wanted <- struct{}{}:
	default:
	}
	if last := c.last.Load(); last != nil {
		return *last
	}
	return nil
}

// count counts the grants now, unless it counted recently. On an error the last
// count stays.
func (c *grantCounter) count(ctx context.Context, engine *deviceauth.Engine) error {
	start := time.Now()
	if start.Before(c.rested) {
		return nil
	}
	counts, err := engine.Census(ctx)
	c.rested = start.Add(max(countInterval, countShare*time.Since(start)))
	if err == nil {
		c.last.Store(&counts)
	}
	return err
}
