package caddymodule

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// announceAfter is how long announce waits before it contacts the upstreams: one of
// them may be served by the same Caddy, which is starting at the same time.
const announceAfter = time.Second

// announce logs what was started: the issuer, the location of the store, and whether
// each upstream's metadata can be fetched. If an upstream cannot be reached, the
// entry is a warning. Fetching the metadata also fills the cache, so that the first
// person who signs in need not wait for it.
func (a *App) announce(ctx context.Context, upstreams []deviceauth.Upstream) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(announceAfter):
	}
	// The upstreams are contacted concurrently: one that does not respond must not
	// delay the entry for the others.
	found, missing := make([]string, len(upstreams)), make([]bool, len(upstreams))
	var asking sync.WaitGroup
	for i, u := range upstreams {
		asking.Go(func() {
			found[i] = u.ID() + ": found"
			if err := u.Reachable(ctx); err != nil {
				found[i], missing[i] = u.ID()+": "+err.Error(), true
			}
		})
	}
	asking.Wait()
	// After Stop, the error of an upstream only means that its request was cancelled,
	// which is not worth a log entry.
	if ctx.Err() != nil {
		return
	}
	level := zap.InfoLevel
	for _, m := range missing {
		if m {
			level = zap.WarnLevel
		}
	}
	a.log.Log(level, "the device login serves", zap.String("issuer", a.Issuer), zap.String("store", storeName(a.store)),
		zap.Int("clients", len(a.Clients)), zap.Strings("upstreams", found))
}
