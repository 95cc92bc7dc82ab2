package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/redisstore"
)

// A Redis that is up later than this machine must keep neither Caddy's other
// sites from being served nor Caddy from starting. So at the first start the
// store is tried again in the background, and requests that need it are answered
// 503 meanwhile. At a reload a configuration still serves: the new one fails if
// its store stays away.

// reloadTimeout is how long a reload waits for a store that is away, and
// lateRetryInterval how often such a store is tried again.
const (
	reloadTimeout     = 10 * time.Second
	lateRetryInterval = 500 * time.Millisecond
)

// isAway distinguishes a store that does not respond from one that is configured wrong,
// which no waiting mends.
func isAway(err error) bool { return errors.Is(err, redisstore.ErrAway) }

// open opens the store. At a reload it tries again until reloadTimeout, because
// the configuration before serves meanwhile.
func (a *App) open() (*pooledStore, error) {
	for deadline := time.Now().Add(reloadTimeout); ; time.Sleep(lateRetryInterval) {
		pooled, err := acquireStore(a.store, a.slog)
		if !isAway(err) || a.issuerState.current.Load() == nil || time.Now().After(deadline) || caddy.Exiting() {
			return pooled, err
		}
	}
}

// awaitStore tries the store in the background until it opens, and then begins
// to serve; Stop ends the attempts. The same error is logged once only.
func (a *App) awaitStore(why error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.isLate.Store(true)
	a.stopWaiting = func() { stop(); <-done }
	a.log.Error("the store is away; what needs it is answered 503 until it is there", zap.Error(why))
	go func() {
		defer close(done)
		for logged := why.Error(); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lateRetryInterval):
			}
			err := a.beginLate(ctx)
			switch {
			case err == nil:
				a.isLate.Store(false)
				a.log.Info("the store is there")
				return
			case !isAway(err) && err.Error() != logged:
				logged = err.Error()
				a.log.Error("the store that was away cannot be used", zap.Error(err))
			}
		}
	}()
}

// beginLate makes one attempt. If the gateway cannot begin with the store, the
// store is released for the next attempt.
func (a *App) beginLate(ctx context.Context) error {
	pooled, err := acquireStore(a.store, a.slog)
	if err != nil {
		return err
	}
	a.pooledStore = pooled
	if err := a.begin(ctx); err != nil {
		a.pooledStore = nil
		return errors.Join(err, pooled.release())
	}
	return nil
}
