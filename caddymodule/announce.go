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

// announceAfter is how long the start line waits before upstreams are asked: the same
// Caddy may serve one, and begins to do so at the same time.
const announceAfter = time.Second

// announce writes one line about what was started: who we are, where grants are kept,
// and whether people can sign in. It asks each upstream, which the first person would
// have had to wait for.
func (a *App) announce(ctx context.Context, upstreams []deviceauth.Upstream) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(announceAfter):
	}
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

// storeInWords is what the start line says of the store: no user and no password.
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
