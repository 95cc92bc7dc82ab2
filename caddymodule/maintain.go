package caddymodule

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
)

// tendWait bounds how long a stop waits for a look at the signing keys to end.
const maintainWait = time.Second

// openKeys reads the signing keys. What the store has lost of them the configuration
// before puts right first: this one knows none, and would make new ones.
func (a *App) openKeys(ctx context.Context) (*keyring.Keyring, error) {
	if before := a.pooledStore.keys.Load(); before != nil {
		if err := before.Maintain(ctx); err != nil {
			return nil, err
		}
	}
	keys, err := keyring.Open(ctx, a.pooledStore.backend, a.Signing)
	if err != nil {
		return nil, err
	}
	keys.OnLoss(func(reason string) { a.log.Error(reason) })
	a.pooledStore.keys.Store(keys)
	return keys, nil
}

// maintain looks after the signing keys, counts the grants, and says once what was
// started, until Stop. It looks once more then: nobody else may know what the
// store has lost.
func (a *App) maintain(upstreams []deviceauth.Upstream) {
	ctx, stop := context.WithCancel(context.Background())
	go a.announce(ctx, upstreams) // which stop ends
	done := make(chan struct{})
	a.stopMaintaining = func() {
		stop()
		select {
		case <-done:
		case <-time.After(maintainWait): // the store does not answer, and nothing is lost by it
		}
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(keyring.MaintainEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				last, cancel := context.WithTimeout(context.Background(), maintainWait)
				defer cancel()
				if err := a.server.Load().keys.Maintain(last); err != nil {
					a.log.Warn("looking after the signing keys at the end", zap.Error(err))
				}
				return
			case <-tick.C:
				if err := a.server.Load().keys.Maintain(ctx); err != nil && ctx.Err() == nil {
					a.log.Error("looking after the signing keys", zap.Error(err))
				}
			case <-a.server.Load().census.wanted:
				if err := a.server.Load().census.count(ctx, a.server.Load().engine); err != nil && ctx.Err() == nil {
					a.log.Warn("counting the grants", zap.Error(err))
				}
			}
		}
	}()
}
