package caddymodule

import (
	"context"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// upstreams makes the providers ready, and has the engine ask those that are
// to be asked again.
func (a *App) upstreams(keys *keyring.Keyring) (list []deviceauth.Upstream, err error) {
	asked := map[string]*upstreamidp.Provider{}
	for i := range a.Upstreams {
		c := a.Upstreams[i].config()
		c.Documents, c.Key, c.Log = a.pooledStore.backend, keys.Source(keyring.PurposeUpstream), a.slog
		for _, client := range a.Clients {
			c.Fresh = c.Fresh || client.Fresh
			for _, rule := range client.Allow {
				c.Claims = append(c.Claims, rule.Claim)
			}
		}
		c.Told = append(c.Told, a.toldClaims()...)
		c.Observe = observe(c.ID)
		u, err := upstreamidp.New(c)
		if err != nil {
			return nil, err
		}
		list = append(list, u)
		if c.Revalidate {
			asked[c.ID] = u
		}
	}
	if len(asked) > 0 {
		a.engine.Revalidate = func(ctx context.Context, p *deviceauth.Person) (*deviceauth.Person, error) {
			if u := asked[p.Upstream]; u != nil {
				return u.Revalidate(ctx, p)
			}
			return p, nil
		}
	}
	return list, nil
}

// observe measures what an upstream is asked. All of its metrics are there at 0 from
// the start.
func observe(upstream string) func(operation string, took time.Duration, failed bool) {
	for _, operation := range upstreamidp.Operations() {
		upstreamSeconds.WithLabelValues(upstream, operation)
		upstreamErrors.WithLabelValues(upstream, operation)
	}
	return func(operation string, took time.Duration, failed bool) {
		upstreamSeconds.WithLabelValues(upstream, operation).Observe(took.Seconds())
		if failed {
			upstreamErrors.WithLabelValues(upstream, operation).Inc()
		}
	}
}

// ofIdentity are what headers may tell that is no claim of an upstream.
var ofIdentity = []string{"user", "sub", "client_id", "scope", "upstream"}

// toldClaims are the claims that headers of this Caddy's guards tell backends.
func (a *App) toldClaims() (list []string) {
	for _, g := range a.guards {
		for _, header := range g.Headers {
			if !slices.Contains(ofIdentity, header.Claim) {
				list = append(list, header.Claim)
			}
		}
	}
	return list
}
