package caddymodule

import (
	"errors"
	"runtime"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// The metrics, in Caddy's registry. No label has values that an outsider can
// add to: they are events, decisions and answers of ours, operations of stores and
// upstreams, and the names in an operator's configuration and file of old keys. All
// that is counted is there at 0 from the start: of a counter that appears with its
// first count, increase() sees nothing.
var (
	auditEvents = counter("caddy_device_login_events_total", "Events of the audit log, by name.", "event")
	polls       = counter("caddy_device_login_polls_total", "Polls of device codes, by answer.", "answer")

	guardDecisions = counter("caddy_device_auth_requests_total", "Requests at guards, by decision.", "decision")
	tokensRefused  = counter("caddy_device_auth_refused_tokens_total", "Tokens that guards refused, by reason.", "reason")
	legacyUses     = counter("caddy_device_auth_legacy_total", "Requests that were let through with an old API key, by client.", "client")

	guardSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "caddy_device_auth_duration_seconds", Help: "How long a guard takes to decide on a request.",
		Buckets: []float64{5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, .1, .5, 1, 5},
	})
	storeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "caddy_device_login_store_duration_seconds", Help: "How long a store takes, by operation.",
		Buckets: []float64{1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, .1, .5, 1, 5},
	}, []string{"operation"})

	upstreamSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "caddy_device_login_upstream_duration_seconds",
		Help:    "How long an upstream takes to begin its answer, by what it is asked.",
		Buckets: []float64{5e-3, 1e-2, 5e-2, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"upstream", "operation"})
	upstreamErrors = counter("caddy_device_login_upstream_errors_total", "Requests to upstreams that failed.",
		"upstream", "operation")
)

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

var collectors = []prometheus.Collector{
	auditEvents, polls, guardDecisions, tokensRefused, legacyUses, guardSeconds, storeSeconds,
	upstreamSeconds, upstreamErrors, buildInfo(), gauges{},
}

// buildInfo is 1, with what runs here in its labels.
func buildInfo() prometheus.Collector {
	const name, help = "caddy_device_login_build_info", "What runs: the versions of the module, of Caddy and of Go."
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"version", "caddy", "go"})
	server, _ := caddy.Version()
	info.WithLabelValues(moduleVersion(), server, runtime.Version()).Set(1)
	return info
}

const modulePath = "github.com/deviceauth/caddy-deviceauth"

// moduleVersion is that of this module in the binary, or the commit that it was built
// from, where that is known.
func moduleVersion() string {
	build, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, module := range build.Deps {
		if module.Path == modulePath {
			return module.Version
		}
	}
	return build.Main.Version
}

// registerMetrics registers them with the registry of a configuration. Another
// module of the same configuration may have done it.
func registerMetrics(ctx caddy.Context) error {
	for _, c := range collectors {
		var already prometheus.AlreadyRegisteredError
		if err := ctx.GetMetricsRegistry().Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// The decisions of a guard.
const (
	decisionAdmitted    = "admitted"
	decisionAnonymous   = "anonymous" // with optional
	decisionLegacy      = "legacy"
	decisionBadKey      = "unknown_key" // beside what becomes of a request with an old key that is none
	decisionPreflight   = "preflight"
	decisionMalformed   = "malformed"
	decisionNoToken     = "no_token"
	decisionBadToken    = "invalid_token"
	decisionNoScope     = "insufficient_scope"
	decisionUnavailable = "unavailable"
	decisionReported    = "reported" // beside the one that report_only did not carry out
)

// decisions are the counters, found once: a guard counts every request.
var decisions = func() map[string]prometheus.Counter {
	all := map[string]prometheus.Counter{}
	for _, d := range []string{
		decisionAdmitted, decisionAnonymous, decisionLegacy, decisionBadKey, decisionPreflight, decisionMalformed, decisionNoToken,
		decisionBadToken, decisionNoScope, decisionUnavailable, decisionReported,
	} {
		all[d] = guardDecisions.WithLabelValues(d)
	}
	for counter, values := range map[*prometheus.CounterVec][]string{
		tokensRefused: deviceauth.TokenReasons(), auditEvents: deviceauth.EventNames(), polls: deviceauth.PollAnswers(),
	} {
		for _, value := range values {
			counter.WithLabelValues(value)
		}
	}
	for _, operation := range storeOperations {
		storeSeconds.WithLabelValues(operation)
	}
	return all
}()

func decided(decision string) { decisions[decision].Inc() }

func decisionOf(c *guard.Challenge) string {
	refusal := deviceauth.AsError(c)
	switch {
	case refusal == nil:
		return decisionNoToken
	case refusal.Code == "insufficient_scope":
		return decisionNoScope
	case refusal.Code == "invalid_token":
		return decisionBadToken
	}
	return decisionMalformed
}

// gauges are read from the servers that serve when somebody looks.
type gauges struct{}

var (
	grantsDesc  = prometheus.NewDesc("caddy_device_login_grants", "Grants in the store, by state, as counted a minute or more ago.", []string{"state"}, nil)
	pendingDesc = prometheus.NewDesc("caddy_device_login_pending", "Codes that wait for an answer, of this process.", nil, nil)
	heldDesc    = prometheus.NewDesc("caddy_device_login_polls_held", "Polls that are held open now.", nil, nil)
)

// Describe implements prometheus.Collector.
func (gauges) Describe(to chan<- *prometheus.Desc) {
	to <- grantsDesc
	to <- pendingDesc
	to <- heldDesc
}

// Collect implements prometheus.Collector.
func (gauges) Collect(to chan<- prometheus.Metric) {
	pending, held, grants := 0, 0, map[deviceauth.Standing]int{}
	issuerStates.Range(func(_, value any) bool {
		if s := value.(*issuerState).current.Load(); s != nil {
			p, h := s.pooledStore.live.Counts()
			pending, held = pending+p, held+h
			for standing, n := range s.census.look() {
				grants[standing] += n
			}
		}
		return true
	})
	for standing, n := range grants {
		to <- prometheus.MustNewConstMetric(grantsDesc, prometheus.GaugeValue, float64(n), string(standing))
	}
	to <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(pending))
	to <- prometheus.MustNewConstMetric(heldDesc, prometheus.GaugeValue, float64(held))
}
