package storetest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// OpenCluster opens one new, empty storage twice, like two gateways. The suite closes
// both. dir is as for [Open].
type OpenCluster func(dir string) (a, b deviceauth.Cluster, err error)

// A ClusterCheck tests one requirement of a [deviceauth.Cluster]: what several
// gateways share apart from grants. [Checks] are for grants.
type ClusterCheck struct {
	Name string
	run  func(ctx context.Context, a, b deviceauth.Cluster) error
}

// ClusterChecks are all checks of a [deviceauth.Cluster].
var ClusterChecks = []ClusterCheck{
	{Name: "polls of a code are recorded together", run: pollsAreShared},         // RFC 8628 §3.5
	{Name: "each method has a pace of its own", run: methodsAreApart},            // a stranger slows no client down
	{Name: "of many polls at once one is the first", run: pollRaceHasOneFirst},   // read and record are atomic
	{Name: "an interval is set by one of many", run: intervalRaceHasOneWinner},   // compare and set are atomic
	{Name: "an interval without polls is not kept", run: intervalNeedsPolls},     // every key must expire
	{Name: "what is counted at once is counted once each", run: countsAreShared}, // RFC 8628 §5.1
	{Name: "a count can be taken back", run: countIsTakenBack},                   // a right code does not count
	{Name: "a window ends when it was said to end", run: windowEnds},             // a fixed window
	{Name: "both gateways are told of a change", run: changeIsPublished},         // held polls are answered
}

// RunCluster runs the checks, each on a new storage in its own synctest bubble.
func RunCluster(t *testing.T, open OpenCluster) { runInBubbles(t, clusterChecksOn(open)) }

// RunClusterOutside runs the checks on a storage that is reached over a network, in
// real time and concurrently: it takes about two seconds.
func RunClusterOutside(t *testing.T, open OpenCluster) { runInRealTime(t, clusterChecksOn(open)) }

// clusterChecksOn returns all ClusterChecks for two gateways.
func clusterChecksOn(open OpenCluster) (list []namedCheck) {
	for _, check := range ClusterChecks {
		on := func(ctx context.Context, dir string) error { return check.On(ctx, dir, open) }
		list = append(list, namedCheck{name: check.Name, on: on})
	}
	return list
}

// On runs the check on two gateways that it opens and closes. An error of Close fails
// the check, as with [Check.On].
func (c ClusterCheck) On(ctx context.Context, dir string, open OpenCluster) error {
	a, b, err := open(dir)
	if err != nil {
		return err
	}
	return errors.Join(c.run(ctx, a, b), a.Close(), b.Close())
}

// pollOf returns a poll of a code, with an interval of five seconds (RFC 8628 §3.2).
func pollOf(g *deviceauth.Grant) deviceauth.Poll {
	return deviceauth.Poll{Grant: g.ID, Interval: 5 * time.Second, Expires: g.Expires}
}

// recorded records a poll. It expects Polled in the result to be polled, and an earlier
// poll not to be older than the beginning of the check.
func recorded(ctx context.Context, s deviceauth.Cluster, p deviceauth.Poll, polled bool, began time.Time) error {
	got, err := s.RecordPoll(ctx, p)
	if err != nil {
		return err
	}
	// The store may have its own clock, with a resolution of milliseconds.
	if most := time.Since(began) + 10*time.Millisecond; got.Polled != polled || got.Since < 0 || got.Since > most {
		return fmt.Errorf("got %+v, want polled %v, not longer ago than %v", got, polled, most)
	}
	return nil
}

// pollsAreShared expects that what one gateway records is known to the other: a
// device must not poll faster by polling both (RFC 8628 §3.5).
func pollsAreShared(ctx context.Context, a, b deviceauth.Cluster) error {
	poll, other, began := pollOf(NewGrant("BCDFGHJK")), pollOf(NewGrant("LMNPQRST")), time.Now()
	const pause = 50 * time.Millisecond
	// One gateway records a poll, the other one sees it.
	if err := recorded(ctx, a, poll, false, began); err != nil {
		return err
	}
	time.Sleep(pause)
	got, err := b.RecordPoll(ctx, poll)
	if err != nil || !got.Polled || got.Since < pause-10*time.Millisecond || got.Interval != poll.Interval {
		return fmt.Errorf("got %+v, %v, want a poll %v ago, and the interval %v", got, err, pause, poll.Interval)
	}
	// The other gateway increases the interval, and the first one sees that.
	was, err := b.SetInterval(ctx, poll.Grant, poll.Interval, 10*time.Second)
	if err != nil || was != poll.Interval {
		return fmt.Errorf("setting the interval: it was %v, %v, want %v", was, err, poll.Interval)
	}
	if got, err = a.RecordPoll(ctx, poll); err != nil || got.Interval != 10*time.Second {
		return fmt.Errorf("got %+v, %v, want the interval that the other gateway has set", got, err)
	}
	return recorded(ctx, a, other, false, began) // another code
}

// methodsAreApart expects that polls with different methods of client authentication
// are independent: an attacker who knows a code but not the client's secret must not
// slow down its device.
func methodsAreApart(ctx context.Context, a, b deviceauth.Cluster) error {
	public, began := pollOf(NewGrant("BCDFGHJK")), time.Now()
	secret := public
	secret.Method = deviceauth.AuthPost
	return first(
		func() error { return recorded(ctx, a, public, false, began) },
		func() error { return recorded(ctx, b, secret, false, began) },
		func() error { return recorded(ctx, b, public, true, began) },
		func() error { return recorded(ctx, a, secret, true, began) },
	)
}

// pollRaceHasOneFirst expects each of several simultaneous polls to see those before
// it. The first poll of a code is never early, so with several first polls all would
// be accepted.
func pollRaceHasOneFirst(ctx context.Context, a, b deviceauth.Cluster) error {
	poll := pollOf(NewGrant("BCDFGHJK"))
	polledBefore := errors.New("not the first")
	won, err := race(func(i int) error {
		got, err := []deviceauth.Cluster{a, b}[i%2].RecordPoll(ctx, poll)
		if err == nil && got.Polled {
			return polledBefore
		}
		return err
	})
	if won != 1 {
		return fmt.Errorf("%d of %d polls are the first: %w", won, racers, err)
	}
	return nil
}

// intervalRaceHasOneWinner expects that an interval is replaced only once from one
// value, so that each early poll counts: a gateway that comes too late gets the new
// value, and increases that.
func intervalRaceHasOneWinner(ctx context.Context, a, b deviceauth.Cluster) error {
	poll := pollOf(NewGrant("BCDFGHJK"))
	if err := recorded(ctx, a, poll, false, time.Now()); err != nil {
		return err
	}
	late := errors.New("another was faster")
	won, err := race(func(i int) error {
		was, err := []deviceauth.Cluster{a, b}[i%2].SetInterval(ctx, poll.Grant, poll.Interval, 10*time.Second)
		if err == nil && was != poll.Interval {
			return late
		}
		return err
	})
	if won != 1 {
		return fmt.Errorf("%d of %d set the interval: %w", won, racers, err)
	}
	return nil
}

// intervalNeedsPolls sets the interval of a code without recorded polls: a record
// without an expiry would stay for ever.
func intervalNeedsPolls(ctx context.Context, a, b deviceauth.Cluster) error {
	poll := pollOf(NewGrant("BCDFGHJK"))
	was, err := a.SetInterval(ctx, poll.Grant, poll.Interval, time.Minute)
	if err != nil || was != poll.Interval {
		return fmt.Errorf("got %v, %v, want what was asked for", was, err)
	}
	got, err := b.RecordPoll(ctx, poll)
	if err != nil || got.Polled || got.Interval != poll.Interval {
		return fmt.Errorf("got %+v, %v, want nothing known", got, err)
	}
	return nil
}
