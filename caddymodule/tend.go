package caddymodule

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
)

// tendWait bounds how long a stop waits for a look at the signing keys to end.
const tendWait = time.Second

// tend looks after the signing keys, counts the grants, and says once what was
// started, until Stop.
func (a *App) tend(upstreams []deviceauth.Upstream) {
	ctx, stop := context.WithCancel(context.Background())
	go a.announce(ctx, upstreams) // which stop ends
	done := make(chan struct{})
	a.stopTending = func() {
		stop()
		select {
		case <-done:
		case <-time.After(tendWait): // the store does not answer, and nothing is lost by it
		}
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(keyring.TendEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if err := a.server.Load().keys.Tend(ctx); err != nil && ctx.Err() == nil {
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
