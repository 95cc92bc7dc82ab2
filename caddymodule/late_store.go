package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/redisstore"
)

// A Redis that starts later than Caddy must not keep Caddy from starting and from
// serving other sites. So at the first start the store is retried in the background,
// and requests that need it are answered with 503 meanwhile. At a reload the previous
// configuration keeps serving, and the new one fails if its store stays unavailable.

// reloadTimeout is how long a reload waits for an unavailable store, and
// lateRetryInterval how often such a store is retried.
const (
	reloadTimeout     = 10 * time.Second
	lateRetryInterval = 500 * time.Millisecond
)

// isAway reports whether an error means that a store does not respond, rather than a
// wrong configuration, which retries cannot fix.
func isAway(err error) bool { return errors.Is(err, redisstore.ErrAway) }

// open opens the store. At a reload it retries until reloadTimeout, because the
// previous configuration keeps serving meanwhile.
func (a *App) open() (*pooledStore, error) {
	for deadline := time.Now().Add(reloadTimeout); ; time.Sleep(lateRetryInterval) {
		pooled, err := acquireStore(a.store, a.slog)
		if !isAway(err) || a.issuerState.current.Load() == nil || time.Now().After(deadline) || caddy.Exiting() {
			return pooled, err
		}
	}
}

// awaitStore retries the store in the background until it opens, and then begins to
// serve; Stop ends the retries. It logs repeated errors only once.
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

// beginLate makes one attempt. If begin fails, it releases the store for the next
// attempt.
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
