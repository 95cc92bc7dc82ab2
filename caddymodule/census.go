package caddymodule

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A census counts the grants of a store for whoever reads the metrics. Counting
// reads the whole store, so it is done where nobody waits for it, when somebody
// has looked, and rests for a hundred times as long as it took: it never costs
// more than a hundredth of a core.
type census struct {
	wanted chan struct{}
	last   atomic.Pointer[map[deviceauth.Standing]int]
	rested time.Time // for whoever counts alone
}

const (
	censusRest  = time.Minute
	censusShare = 100
)

func newCensus() *census { return &census{wanted: make(chan struct{}, 1)} }

// look returns what was counted last, nil before the first time, and has it
// counted again.
func (c *census) look() map[deviceauth.Standing]int {
	select {
	case c.wanted <- struct{}{}:
	default:
	}
	if last := c.last.Load(); last != nil {
		return *last
	}
	return nil
}

func (c *census) count(ctx context.Context, engine *deviceauth.Engine) error {
	start := time.Now()
	if start.Before(c.rested) {
		return nil
	}
	counts, err := engine.Census(ctx)
	c.rested = start.Add(max(censusRest, censusShare*time.Since(start)))
	if err == nil {
		c.last.Store(&counts)
	}
	return err
}
