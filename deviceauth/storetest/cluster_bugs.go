package storetest

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A ClusterBug is a mistake of storages that gateways share, to be put on top of two
// good gateways.
type ClusterBug struct {
	Name string
	put  func(a, b *brokenCluster)
}

// ClusterBugs are mistakes that [ClusterChecks] catch, so many that each check catches
// one. They are those of hurried authors: memory in place of the store, a read and a
// write in place of one step, an expiry that is set again.
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

// A brokenCluster is a good gateway with one mistake. A nil function leaves the method
// of the good one as it is; one that is not nil gets the good gateway, and may call it
// with altered arguments. What concerns grants is always the good gateway's.
type brokenCluster struct {
	deviceauth.Cluster
	// Each of them is called instead of the method of its signature.
	poll func(context.Context, deviceauth.Cluster, deviceauth.Poll) (deviceauth.PollRecord, error)
	set  func(_ context.Context, _ deviceauth.Cluster, _ deviceauth.ID, from, to time.Duration) (time.Duration, error)
	up   func(context.Context, deviceauth.Cluster, string, time.Duration) (deviceauth.Count, error)
	down func(context.Context, deviceauth.Cluster, string) error
	deaf bool // told of no change
}

// RecordPoll calls the broken function, if there is one, as the methods below do.
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

// OnChange drops the listener of a deaf gateway: held polls there end only by their
// time-out, and a revoked device goes on until a cache has aged.
func (b *brokenCluster) OnChange(listener func(deviceauth.ID)) {
	if !b.deaf {
		b.Cluster.OnChange(listener)
	}
}

// recordsForItself keeps the polls of one gateway apart, under ids of its own, as if they
// were in its memory: a device that polls several is not slowed down.
func recordsForItself(ctx context.Context, s deviceauth.Cluster, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	p.Grant[0]++
	return s.RecordPoll(ctx, p)
}

// mixesMethods records all polls as those of public clients, and so lets whoever has
// only seen a code slow down the client that has a secret.
func mixesMethods(ctx context.Context, s deviceauth.Cluster, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	p.Method = deviceauth.AuthNone
	return s.RecordPoll(ctx, p)
}

// setsAlways writes over what another gateway has set meanwhile, so that of two early
// polls at once one costs nothing.
func setsAlways(
	ctx context.Context, s deviceauth.Cluster, id deviceauth.ID, from, to time.Duration,
) (time.Duration, error) {
	was, err := s.SetInterval(ctx, id, from, to)
	if err == nil && was != from {
		_, err = s.SetInterval(ctx, id, was, to)
	}
	return from, err
}

// keepsIntervals has both gateways make a record of each interval that is set, as a
// command does that makes the key it writes to.
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

// countsForItself gives a guesser as many guesses again for each gateway, as counts in
// its memory would.
func countsForItself(
	ctx context.Context, s deviceauth.Cluster, key string, window time.Duration,
) (deviceauth.Count, error) {
	return s.CountUp(ctx, "own "+key, window)
}

// prolongs lets the end of a window be put off for ever, as a command does that sets the
// expiry at each count: people who share an address with a guesser wait as long.
func prolongs(ctx context.Context, s deviceauth.Cluster, key string, window time.Duration) (deviceauth.Count, error) {
	count, err := s.CountUp(ctx, key, window)
	count.Ends = time.Now().Add(window)
	return count, err
}

// takesNothingBack counts right codes as wrong ones: after a few of them a person who has
// many devices may type no more.
func takesNothingBack(context.Context, deviceauth.Cluster, string) error { return nil }

// RunClusterBugs fails unless the checks catch every bug on two gateways, and every
// check a bug. Each check runs on each bug in a bubble of its own.
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

// RunClusterBugsOutside does the same as [RunClusterOutside] would, all bugs at once.
func RunClusterBugsOutside(t *testing.T, open OpenCluster) {
	caught := make([][]error, len(ClusterBugs))
	var all sync.WaitGroup
	for i, bug := range ClusterBugs {
		all.Go(func() { caught[i] = failures(t, clusterChecksOn(bug.on(open))) })
	}
	all.Wait()
	reportClusterBugs(t, caught)
}

// reportClusterBugs fails the test for each bug that no check finds, and for each check
// that finds no bug: such a check could be one that never fails. caught has the errors of
// all checks by bug.
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

// on returns an OpenCluster whose gateways have the bug. The good ones are opened anew
// for each check, and closed through the broken ones.
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
