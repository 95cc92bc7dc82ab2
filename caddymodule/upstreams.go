package caddymodule

import (
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// upstreams are the providers as they are configured, with the claims that backends
// are told of.
func (a *App) upstreams() (list []upstreamidp.Config) {
	for i := range a.Upstreams {
		c := a.Upstreams[i].config()
		c.Log = a.slog
		c.Told = append(c.Told, a.toldClaims()...)
		c.Observe = observe(c.ID)
		list = append(list, c)
	}
	return list
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
