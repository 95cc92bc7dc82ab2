package storetest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A ClusterBug is a typical mistake of a storage that gateways share, which is added
// to two correct gateways.
type ClusterBug struct {
	Name string
	put  func(a, b *brokenCluster)
}

// ClusterBugs are mistakes that [ClusterChecks] must find; each check finds at least
// one. They are typical of careless implementations: memory instead of the store, a
// read and a write instead of one atomic step, an expiry that is reset.
var ClusterBugs = []ClusterBug{
	{Name: "a gateway records polls for itself", put: func(_, b *brokenCluster) { b.poll = recordsForItself }},
	{Name: "polls of all methods are one",
		put: func(a, b *brokenCluster) { a.poll, b.poll = mixesMethods, mixesMethods }},
	{Name: "an interval is set without a look",
		put: func(a, b *brokenCluster) { a.set, b.set = setsAlways, setsAlways }},
	{Name: "an interval is kept without polls", put: keepsIntervals}, // for ever
	{Name: "a gateway counts for itself", put: func(_, b *brokenCluster) { b.up = countsForItself }},
	{Name: "each count prolongs the window", put: func(_, b *brokenCluster) { b.up = prolongs }},
	{Name: "nothing is taken back", put: func(a, _ *brokenCluster) { a.down = takesNothingBack }},
	{Name: "a gateway is told nothing", put: func(_, b *brokenCluster) { b.deaf = true }},
}

// A brokenCluster is a correct gateway with one bug. Where a function is nil, the
// method of the correct gateway is used; other functions receive the correct gateway,
// and may call it with altered arguments. The methods for grants have no bug.
type brokenCluster struct {
	deviceauth.Cluster
	// Each function replaces the method with its signature.
	poll func(context.Context, deviceauth.Cluster, deviceauth.Poll) (deviceauth.PollRecord, error)
	set  func(_ context.Context, _ deviceauth.Cluster, _ deviceauth.ID, from, to time.Duration) (time.Duration, error)
	up   func(context.Context, deviceauth.Cluster, string, time.Duration) (deviceauth.Count, error)
	down func(context.Context, deviceauth.Cluster, string) error
	deaf bool // its listener is never called
}

// RecordPoll calls the function with the bug, if there is one, as do the methods
// below.
func (b *brokenCluster) RecordPoll(ctx context.Context, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	if b.poll != nil {
		return b.poll(ctx, b.Cluster, p)
	}
	return b.Cluster.RecordPoll(ctx, p)
}

func (b *brokenCluster) SetInterval(
	ctx context.Context, id deviceauth.ID, from, to time.Duration,
) (time.Duration, error) {
	if b.set != nil {
		return b.set(ctx, b.Cluster, id, from, to)
	}
	return b.Cluster.SetInterval(ctx, id, from, to)
}

func (b *brokenCluster) CountUp(ctx context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	if b.up != nil {
		return b.up(ctx, b.Cluster, key, window)
	}
	return b.Cluster.CountUp(ctx, key, window)
}

func (b *brokenCluster) CountDown(ctx context.Context, key string) error {
	if b.down != nil {
		return b.down(ctx, b.Cluster, key)
	}
	return b.Cluster.CountDown(ctx, key)
}

// OnChange ignores the listener of a deaf gateway: held polls there end only by their
// timeout, and a revoked device is accepted until a cache entry has expired.
func (b *brokenCluster) OnChange(listener func(deviceauth.ID)) {
	if !b.deaf {
		b.Cluster.OnChange(listener)
	}
}

// recordsForItself keeps the polls of one gateway separate, under different ids, as
// if they were in its memory: a device that polls several gateways is not slowed
// down.
func recordsForItself(ctx context.Context, s deviceauth.Cluster, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	p.Grant[0]++
	return s.RecordPoll(ctx, p)
}

// mixesMethods records all polls as those of public clients, so that an attacker who
// has only seen a code can slow down the client that has the secret.
func mixesMethods(ctx context.Context, s deviceauth.Cluster, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	p.Method = deviceauth.AuthNone
	return s.RecordPoll(ctx, p)
}

// setsAlways overwrites what another gateway has set meanwhile, so that one of two
// simultaneous early polls has no effect.
func setsAlways(
	ctx context.Context, s deviceauth.Cluster, id deviceauth.ID, from, to time.Duration,
) (time.Duration, error) {
	was, err := s.SetInterval(ctx, id, from, to)
	if err == nil && was != from {
		_, err = s.SetInterval(ctx, id, was, to)
	}
	return from, err
}

// keepsIntervals makes both gateways store each interval that is set, like a command
// that creates its key.
func keepsIntervals(a, b *brokenCluster) {
	var kept sync.Map
	for _, s := range []*brokenCluster{a, b} {
		s.set = func(
			ctx context.Context, s deviceauth.Cluster, id deviceauth.ID, from, to time.Duration,
		) (time.Duration, error) {
			was, err := s.SetInterval(ctx, id, from, to)
			if was == from {
				kept.Store(id, to)
			}
			return was, err
		}
		s.poll = func(ctx context.Context, s deviceauth.Cluster, p deviceauth.Poll) (deviceauth.PollRecord, error) {
			got, err := s.RecordPoll(ctx, p)
			if interval, ok := kept.Load(p.Grant); ok {
				got.Interval = interval.(time.Duration)
			}
			return got, err
		}
	}
}

// countsForItself lets a guesser repeat all guesses at each gateway, as counters in
// memory would.
func countsForItself(
	ctx context.Context, s deviceauth.Cluster, key string, window time.Duration,
) (deviceauth.Count, error) {
	return s.CountUp(ctx, "own "+key, window)
}

// prolongs extends the window with each event, like a command that sets the expiry
// each time: people who share an address with a guesser have to wait as well.
func prolongs(ctx context.Context, s deviceauth.Cluster, key string, window time.Duration) (deviceauth.Count, error) {
	count, err := s.CountUp(ctx, key, window)
	count.Ends = time.Now().Add(window)
	return count, err
}

// takesNothingBack counts right codes as wrong ones: after a few of them a person
// with many devices is locked out.
func takesNothingBack(context.Context, deviceauth.Cluster, string) error { return nil }

// RunClusterBugs fails unless the checks find every bug on two gateways, and every
// check finds a bug. Each check runs with each bug in its own synctest bubble.
func RunClusterBugs(t *testing.T, open OpenCluster) {
	caught := make([][]error, len(ClusterBugs))
	for i, bug := range ClusterBugs {
		for _, check := range ClusterChecks {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				caught[i] = append(caught[i], check.On(t.Context(), dir, bug.on(open)))
			})
		}
	}
	reportClusterBugs(t, caught)
}

// RunClusterBugsOutside is like RunClusterBugs in real time, as with
// [RunClusterOutside], with all bugs concurrently.
func RunClusterBugsOutside(t *testing.T, open OpenCluster) {
	caught := make([][]error, len(ClusterBugs))
	var all sync.WaitGroup
	for i, bug := range ClusterBugs {
		all.Go(func() { caught[i] = failures(t, clusterChecksOn(bug.on(open))) })
	}
	all.Wait()
	reportClusterBugs(t, caught)
}

// reportClusterBugs fails the test for each bug that no check finds, and for each
// check that finds no bug, since such a check might never fail. caught has the errors
// of all checks by bug.
func reportClusterBugs(t *testing.T, caught [][]error) {
	found := map[string]bool{}
	for i, bug := range ClusterBugs {
		var names []string
		for j, err := range caught[i] {
			if err != nil {
				names = append(names, ClusterChecks[j].Name)
				found[ClusterChecks[j].Name] = true
			}
		}
		if t.Logf("%s: caught by %q", bug.Name, names); len(names) == 0 {
			t.Errorf("%s: the checks find nothing wrong", bug.Name)
		}
	}
	for _, check := range ClusterChecks {
		if !found[check.Name] {
			t.Errorf("%q catches no bug", check.Name)
		}
	}
}

// on returns an OpenCluster whose gateways have the bug. The correct gateways are
// opened anew for each check, and closed through the broken ones.
func (b ClusterBug) on(open OpenCluster) OpenCluster {
	return func(dir string) (deviceauth.Cluster, deviceauth.Cluster, error) {
		one, other, err := open(dir)
		if err != nil {
			return nil, nil, err
		}
		first, second := &brokenCluster{Cluster: one}, &brokenCluster{Cluster: other}
		b.put(first, second)
		return first, second, nil
	}
}
