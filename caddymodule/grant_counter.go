package caddymodule

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A grantCounter counts the grants of a store for the metrics. Counting reads the
// whole store. So it runs in the background, only after the metrics were scraped, and
// then pauses for countShare times the duration of the count: it uses at most a
// hundredth of a core.
type grantCounter struct {
	wanted chan struct{} // has a value after a scrape
	last   atomic.Pointer[map[deviceauth.Standing]int]
	rested time.Time // when the next count may begin; only used by count
}

const (
	countInterval = time.Minute // between two counts, at least
	countShare    = 100         // factor between the duration of a count and the following pause
)

// newGrantCounter returns a counter without a count.
func newGrantCounter() *grantCounter { return &grantCounter{wanted: make(chan struct{}, 1)} }

// latest returns the latest count, or nil before the first one, and requests another.
// It never blocks: a scrape must not wait for the store.
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

// count counts the grants, unless it did so recently. After an error the previous
// count is kept.
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
