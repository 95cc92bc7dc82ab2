package caddymodule

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
)

// maintainWait limits how long a stop waits for the last maintenance of the signing
// keys.
const maintainWait = time.Second

// openKeys reads the signing keys from the store, and creates the first one in a new
// store. At a reload the previous configuration's keyring first restores keys that
// the store may have lost: a new keyring has no keys in memory yet, and would create
// new ones, so that all tokens would become invalid.
func (a *App) openKeys(ctx context.Context) (*keyring.Keyring, error) {
	// The previous keyring has its keys in memory, and writes back those that are
	// missing.
	if before := a.pooledStore.keys.Load(); before != nil {
		if err := before.Maintain(ctx); err != nil {
			return nil, err
		}
	}
	keys, err := keyring.Open(ctx, a.pooledStore.Storage(nil), a.Signing)
	if err != nil {
		return nil, err
	}
	keys.OnLoss(func(reason string) { a.log.Error(reason) })
	a.pooledStore.keys.Store(keys)
	return keys, nil
}

// maintain maintains the signing keys, counts the grants for the metrics, and
// announces what was started, until Stop. At the end it maintains the keys once more:
// a key that the store has lost may be only in the memory of this process.
func (a *App) maintain(upstreams []deviceauth.Upstream) {
	ctx, stop := context.WithCancel(context.Background())
	go a.announce(ctx, upstreams) // ends with ctx
	done := make(chan struct{})
	a.stopMaintaining = func() {
		stop()
		select {
		case <-done:
		case <-time.After(maintainWait): // the store does not respond, but it has the keys
		}
	}
	// A single goroutine runs all tasks one after the other, so that they never use
	// the store at the same time. (A health check may have lost keys written back beside
	// them, which the keyring does one after the other.)
	go func() {
		defer close(done)
		tick := time.NewTicker(keyring.MaintainEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				// The loop's context has ended, so the last maintenance has its own.
				last, cancel := context.WithTimeout(context.Background(), maintainWait)
				defer cancel()
				if err := a.server.Load().keys.Maintain(last); err != nil {
					a.log.Warn("maintaining the signing keys at the stop", zap.Error(err))
				}
				return
			// Keys are rotated and removed by time, at every tick.
			case <-tick.C:
				if err := a.server.Load().keys.Maintain(ctx); err != nil && ctx.Err() == nil {
					a.log.Error("maintaining the signing keys", zap.Error(err))
				}
			// A scrape requested the number of grants.
			case <-a.server.Load().grantCounter.wanted:
				s := a.server.Load()
				if err := s.grantCounter.count(ctx, s.engine); err != nil && ctx.Err() == nil {
					a.log.Warn("counting the grants", zap.Error(err))
				}
			}
		}
	}()
}
