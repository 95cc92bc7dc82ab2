package caddymodule

import (
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// upstreams returns the configurations of the providers, with the claims that this
// Caddy's guards pass to backends: unused claims are not stored.
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

// observe returns the function that records the duration and failure of each request
// to an upstream. It creates all of the upstream's metrics at 0.
func observe(upstream string) func(operation string, took time.Duration, failed bool) {
	// Operations are a fixed list, so that no label value is added later.
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

// identityValues are the values of a header that are not claims of an upstream.
var identityValues = []string{"user", "sub", "client_id", "scope", "upstream"}

// headerClaims returns the claims that this Caddy's guards put into headers.
func (a *App) headerClaims() (list []string) {
	for _, g := range a.guards {
		for _, header := range g.Headers {
			if !slices.Contains(identityValues, header.Claim) {
				list = append(list, header.Claim)
			}
		}
	}
	return list
}
