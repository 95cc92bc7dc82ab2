package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// counts increments a counter, and expects a value and a window that has not ended.
// The end is given in terms of the gateway's own clock.
func counts(ctx context.Context, s deviceauth.Cluster, key string, window time.Duration, want int) error {
	count, err := s.CountUp(ctx, key, window)
	left := time.Until(count.Ends)
	// The store may have its own clock, with a resolution of milliseconds.
	if err != nil || count.N != want || left <= 0 || left > window+10*time.Millisecond {
		return fmt.Errorf("%s: got %+v, %v, want %d within %v", key, count, err, want, window)
	}
	return nil
}

// countsAreShared expects every number up to racers exactly once: wrong user codes
// that are entered simultaneously at several gateways must all be counted (RFC 8628
// §5.1).
func countsAreShared(ctx context.Context, a, b deviceauth.Cluster) error {
	given := make([]int, racers) // each goroutine writes to its own element
	_, err := race(func(i int) error {
		count, err := []deviceauth.Cluster{a, b}[i%2].CountUp(ctx, "all", time.Minute)
		given[i] = count.N
		return err
	})
	if err != nil {
		return err
	}
	times := map[int]int{}
	for _, n := range given {
		times[n]++
	}
	for n := 1; n <= racers; n++ {
		if times[n] != 1 {
			return fmt.Errorf("got %v, want each number once", given)
		}
	}
	return counts(ctx, a, "other", time.Minute, 1)
}

// countIsTakenBack decrements more often than it increments: a counter must not fall
// below zero, or a guesser could save up guesses.
func countIsTakenBack(ctx context.Context, a, b deviceauth.Cluster) error {
	return first(
		func() error {
			return errors.Join(counts(ctx, a, "k", time.Minute, 1), counts(ctx, b, "k", time.Minute, 2))
		},
		func() error { return errors.Join(a.CountDown(ctx, "k"), counts(ctx, b, "k", time.Minute, 2)) },
		func() error { return errors.Join(b.CountDown(ctx, "k"), a.CountDown(ctx, "k"), b.CountDown(ctx, "k")) },
		func() error { return errors.Join(b.CountDown(ctx, "never"), counts(ctx, a, "k", time.Minute, 1)) },
		func() error { return counts(ctx, b, "never", time.Minute, 1) },
	)
}

// windowEnds expects that a window begins with the first event and is not prolonged
// by later ones: a person who enters wrong codes must be told when they can try
// again.
func windowEnds(ctx context.Context, a, b deviceauth.Cluster) error {
	const window = 2 * time.Second
	var key string
	var ends time.Time
	err := inTime(func(code deviceauth.UserCode) (deadline time.Time, err error) {
		begun := time.Now()
		key, deadline = string(code), begun.Add(window)
		if err := counts(ctx, a, key, window, 1); err != nil {
			return deadline, err
		}
		// The window may have begun at any time during the two calls.
		took := time.Since(begun)
		time.Sleep(window / 2)
		again := time.Now()
		count, err := b.CountUp(ctx, key, window)
		if err != nil || count.N != 2 {
			return deadline, fmt.Errorf("within the window: %+v, %v", count, err)
		}
		took += time.Since(again)
		if late := count.Ends.Sub(begun) - window; late > took+50*time.Millisecond {
			return deadline, fmt.Errorf("the window is %v longer after a second count", late)
		}
		ends = count.Ends
		return deadline, nil
	})
	if err != nil {
		return err
	}
	time.Sleep(time.Until(ends) + 50*time.Millisecond)
	return counts(ctx, a, key, window, 1)
}

// maxDelay is how soon a gateway must learn of a change: a held poll must be
// answered, and a revoked device refused, within a second.
const maxDelay = time.Second

// changeIsPublished changes a grant at one gateway and wants the listeners of both called.
func changeIsPublished(ctx context.Context, a, b deviceauth.Cluster) error {
	g := NewGrant("BCDFGHJK")
	changed := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	for i, s := range []deviceauth.Cluster{a, b} {
		once := changed[i] // closed at the first notice; there may be more
		s.OnChange(func(id deviceauth.ID) {
			select {
			case <-once:
			default:
				if id == g.ID {
					close(once)
				}
			}
		})
	}
	if err := a.Create(ctx, g); err != nil {
		return err
	}
	// A gateway may have subscribed only a moment ago, and misses earlier changes.
	for deadline := time.Now().Add(3 * time.Second); ; {
		if err := a.Update(ctx, g.ID, func(g *deviceauth.Grant) error { g.Revision++; return nil }); err != nil {
			return err
		}
		if arrivesInTime(changed[0]) && arrivesInTime(changed[1]) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("a gateway is not told of a change")
		}
	}
}

// arrivesInTime waits for a notice, and reports whether it arrived.
func arrivesInTime(once <-chan struct{}) bool {
	select {
	case <-once:
		return true
	case <-time.After(maxDelay):
		return false
	}
}
