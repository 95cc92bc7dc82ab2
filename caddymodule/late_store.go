package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/redisstore"
)

// A Redis that is late when the machine boots must not keep Caddy's other sites from
// being served, nor end Caddy. So at the first start it is waited for beside them, and
// what needs it is answered 503. At a reload there is a configuration that serves:
// the new one fails where its store is away.

// reloadPatience is how long a reload waits for a store that is away, and lateEvery
// how often one that is late is tried.
const (
	reloadPatience = 10 * time.Second
	lateEvery      = 500 * time.Millisecond
)

func isAway(err error) bool { return errors.Is(err, redisstore.ErrAway) }

// open opens the store, with patience where the configuration before serves.
func (a *App) open() (*pooledStore, error) {
	for deadline := time.Now().Add(reloadPatience); ; time.Sleep(lateEvery) {
		place, err := acquireStore(a.store, a.slog)
		if !isAway(err) || a.issuerState.current.Load() == nil || time.Now().After(deadline) || caddy.Exiting() {
			return place, err
		}
	}
}

// awaitStore begins to serve as soon as the store is there, until Stop.
func (a *App) awaitStore(why error) {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	a.isLate.Store(true)
	a.waiting = func() { stop(); <-done }
	a.log.Error("the store is away; what needs it is answered 503 until it is there", zap.Error(why))
	go func() {
		defer close(done)
		for said := why.Error(); ; {
			select {
			case <-ctx.Done():
				return
			case <-time.After(lateEvery):
			}
			err := a.beginLate(ctx)
			switch {
			case err == nil:
				a.isLate.Store(false)
				a.log.Info("the store is there")
				return
			case !isAway(err) && err.Error() != said:
				said = err.Error()
				a.log.Error("the store that was away cannot be used", zap.Error(err))
			}
		}
	}()
}

func (a *App) beginLate(ctx context.Context) error {
	place, err := acquireStore(a.store, a.slog)
	if err != nil {
		return err
	}
	a.pooledStore = place
	if err := a.begin(ctx); err != nil {
		a.pooledStore = nil
		return errors.Join(err, place.release())
	}
	return nil
}
