package caddymodule

import (
	"errors"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/bounded"
)

// The metrics, in the registry of Caddy's configuration. No label has values that a
// client can choose: labels are names of events, decisions, poll answers and
// operations, and names from the operator's configuration and file of old keys. Every
// counter exists at 0 from the start, because increase() ignores the first value of a
// new counter.
var (
	auditEvents = counter("caddy_device_login_events_total",
		"Events of the audit log, by name.", "event")
	polls = counter("caddy_device_login_polls_total",
		"Polls of device codes, by answer.", "answer")

	guardDecisions = counter("caddy_device_auth_requests_total",
		"Requests at guards, by decision.", "decision")
	tokensRefused = counter("caddy_device_auth_refused_tokens_total",
		"Tokens that guards refused, by reason.", "reason")
	legacyUses = counter("caddy_device_auth_legacy_total",
		"Requests that were let through with an old API key, by client.", "client")

	// The buckets begin at 5 µs, the duration with a cached token.
	guardSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "caddy_device_auth_duration_seconds", Help: "How long a guard takes to decide on a request.",
		Buckets: []float64{5e-6, 1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, .1, .5, 1, 5},
	})
	// The buckets begin at 10 µs, for a store in memory, and end where requests are
	// abandoned.
	storeSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "caddy_device_login_store_duration_seconds", Help: "How long a store takes, by operation.",
		Buckets: []float64{1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, .1, .5, 1, 5},
	}, []string{"operation"})

	// An upstream is on another machine, and a person waits for it in the browser.
	upstreamSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "caddy_device_login_upstream_duration_seconds",
		Help:    "How long an upstream takes to begin its answer, by what it is asked.",
		Buckets: []float64{5e-3, 1e-2, 5e-2, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"upstream", "operation"})
	upstreamErrors = counter("caddy_device_login_upstream_errors_total", "Requests to upstreams that failed.",
		"upstream", "operation")
)

// counter returns a counter with labels.
func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// collectors are all metrics of the process. They are registered with each
// configuration's registry, and are never removed.
var collectors = []prometheus.Collector{
	auditEvents, polls, guardDecisions, tokensRefused, legacyUses, guardSeconds, storeSeconds,
	upstreamSeconds, upstreamErrors, buildInfo(), gauges{},
}

// buildInfo returns the constant 1 with versions as labels, a convention of
// Prometheus exporters.
func buildInfo() prometheus.Collector {
	const name, help = "caddy_device_login_build_info", "What runs: the versions of the module, of Caddy and of Go."
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"version", "caddy", "go"})
	// The version of Caddy is that of the binary, which xcaddy may have built.
	server, _ := caddy.Version()
	info.WithLabelValues(moduleVersion(), server, runtime.Version()).Set(1)
	return info
}

// modulePath is the path of this module in go.mod.
const modulePath = "github.com/deviceauth/caddy-deviceauth"

// moduleVersion returns the version of this module in the binary. In a build from
// this repository the module is the main one, and the version is that of the commit.
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

// registerMetrics registers the metrics with the registry of a configuration.
// The app and every guard call it, so a metric may be registered already.
func registerMetrics(ctx caddy.Context) error {
	for _, c := range collectors {
		// The error of a metric that is registered already is expected; any other is
		// a mistake in its definition.
		var already prometheus.AlreadyRegisteredError
		if err := ctx.GetMetricsRegistry().Register(c); err != nil && !errors.As(err, &already) {
			return err
		}
	}
	return nil
}

// Values of the label decision besides the outcomes of a guard.
const (
	decisionBadKey   guard.Outcome = "unknown_key" // an unknown old API key
	decisionReported guard.Outcome = "reported"    // passed because of report_only in spite of the decision
)

// decisions are the counters by decision, created once because a guard counts every
// request. The function also creates the other counters at 0.
var decisions = func() map[guard.Outcome]prometheus.Counter {
	all := map[guard.Outcome]prometheus.Counter{}
	for _, d := range []guard.Outcome{
		guard.Admitted, guard.Anonymous, guard.LegacyKey, guard.Preflight, guard.Malformed, guard.NoToken,
		guard.InvalidToken, guard.InsufficientScope, guard.Unavailable, decisionBadKey, decisionReported,
	} {
		all[d] = guardDecisions.WithLabelValues(string(d))
	}
	for counter, values := range map[*prometheus.CounterVec][]string{
		tokensRefused: deviceauth.TokenReasons(), auditEvents: deviceauth.EventNames(), polls: deviceauth.PollAnswers(),
	} {
		for _, value := range values {
			counter.WithLabelValues(value)
		}
	}
	return all
}()

// storeObservers are the histograms by [bounded.Operation], created once because a guard
// gets a grant on every request: looking up the label costs more than the observation.
var storeObservers = func() (all []prometheus.Observer) {
	for _, operation := range bounded.Operations() {
		all = append(all, storeSeconds.WithLabelValues(operation))
	}
	return all
}()

// observeStore observes the duration of an operation of a store.
func observeStore(operation bounded.Operation, took time.Duration) {
	storeObservers[operation].Observe(took.Seconds())
}

// countDecision counts a decision of a guard.
func countDecision(decision guard.Outcome) { decisions[decision].Inc() }

// gauges are read during a scrape, from the current servers.
type gauges struct{}

var (
	grantsDesc = prometheus.NewDesc("caddy_device_login_grants",
		"Grants in the store, by state, as counted a minute or more ago.", []string{"state"}, nil)
	pendingDesc = prometheus.NewDesc("caddy_device_login_pending",
		"Codes that wait for an answer, of this process.", nil, nil)
	heldDesc = prometheus.NewDesc("caddy_device_login_polls_held",
		"Polls that are held open now.", nil, nil)
)

// Describe implements prometheus.Collector.
func (gauges) Describe(to chan<- *prometheus.Desc) {
	to <- grantsDesc
	to <- pendingDesc
	to <- heldDesc
}

// Collect implements prometheus.Collector. It sums over all issuers of the process.
// Grants are omitted until they have been counted for the first time.
func (gauges) Collect(to chan<- prometheus.Metric) {
	pending, held, grants := 0, 0, map[deviceauth.Standing]int{}
	// Each issuer has one current server; servers of earlier configurations do not
	// count.
	issuerStates.Range(func(_, value any) bool {
		if s := value.(*issuerState).current.Load(); s != nil {
			p, h := s.pooledStore.pollState.Counts()
			pending, held = pending+p, held+h
			for standing, n := range s.grantCounter.latest() {
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
