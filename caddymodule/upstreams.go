package caddymodule

import (
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// upstreams are the configurations of the providers, with the claims that this
// Caddy's guards tell backends: a claim that nothing uses is not kept.
func (a *App) upstreams() (list []upstreamidp.Config) {
	for i := range a.Upstreams {
		c := a.Upstreams[i].config()
		c.Log = a.slog
		c.BackendClaims = append(c.BackendClaims, a.headerClaims()...)
		c.Observe = observe(c.ID)
		list = append(list, c)
	}
	return list
}

// observe returns the function that records the duration and failure of each
// request to an upstream. All of the upstream's metrics exist at 0 from the
// start.
func observe(upstream string) func(operation string, took time.Duration, failed bool) {
	// Operations are a fixed list, so that no label value appears later.
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

// ofIdentity are the values that a header may have which are no claims of an
// upstream.
var ofIdentity = []string{"user", "sub", "client_id", "scope", "upstream"}

// headerClaims are the claims that this Caddy's guards put into headers.
func (a *App) headerClaims() (list []string) {
	for _, g := range a.guards {
		for _, header := range g.Headers {
			if !slices.Contains(ofIdentity, header.Claim) {
				list = append(list, header.Claim)
			}
		}
	}
	return list
}
