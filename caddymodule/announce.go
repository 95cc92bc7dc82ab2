package caddymodule

import (
	"context"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// announceAfter is how long announce waits before it asks the upstreams: the
// same Caddy may serve one of them, and begins to do so at the same time.
const announceAfter = time.Second

// announce writes one log entry about what was started: the issuer, where grants
// are kept, and whether each upstream's metadata can be fetched. An upstream
// that cannot be reached makes the entry a warning. Fetching the metadata here
// also fills the cache, which the first person to sign in would otherwise have
// waited for.
func (a *App) announce(ctx context.Context, upstreams []deviceauth.Upstream) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(announceAfter):
	}
	// All upstreams are asked at once: one that does not respond must not delay
	// what is said of the others.
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
	// After a stop an upstream's failure means only that its request was
	// cancelled, which is not worth a log entry.
	if ctx.Err() != nil {
		return
	}
	level := zap.InfoLevel
	for _, m := range missing {
		if m {
			level = zap.WarnLevel
		}
	}
	a.log.Log(level, "the device login serves", zap.String("issuer", a.Issuer), zap.String("store", a.storeInWords()),
		zap.Int("clients", len(a.Clients)), zap.Strings("upstreams", found))
}

// storeInWords names the store for the log: the directory of a Badger database,
// or the hosts of a Redis. Users and passwords, which a Redis URL may have, are
// left out.
func (a *App) storeInWords() string {
	switch s := a.store.(type) {
	case *BadgerStore:
		return s.Key()
	case *RedisStore:
		var hosts []string
		for _, address := range s.options.URLs {
			if u, err := url.Parse(address); err == nil {
				hosts = append(hosts, u.Host)
			}
		}
		return "redis " + strings.Join(hosts, " ")
	}
	return a.store.Key()
}
