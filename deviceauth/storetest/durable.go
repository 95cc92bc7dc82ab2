package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A DurableCheck tests one requirement of a store that keeps grants when it is
// closed, and that several configurations in one process share during a reload.
type DurableCheck struct {
	Name string
	run  func(ctx context.Context, open func() (deviceauth.Storage, error)) error
}

// DurableChecks are all checks of a store that keeps grants when it is closed.
// [Checks] use a store that is opened once; a store in memory, such as a map, passes
// those and not these.
var DurableChecks = []DurableCheck{
	{Name: "a pending grant is kept over Close", run: pendingIsKept},
	{Name: "a decision is not undone by a write behind it", run: decisionIsNotUndone},
	{Name: "a reload sees what is pending", run: reloadSeesPending},
}

// RunDurable runs the checks, each in a new directory and in its own synctest bubble,
// so that delays and retries of the store take no real time. If open is called for a
// directory that is open already, it must return the same store, which is closed when
// all callers have closed it.
func RunDurable(t *testing.T, open Open) {
	for _, check := range DurableChecks {
		t.Run(strings.ReplaceAll(check.Name, " ", "_"), func(t *testing.T) {
			if err := check.on(t, open); err != nil {
				t.Error(err)
			}
		})
	}
}

// RunDurableBugs fails unless the checks find all [WriteBehindBugs] on a store. The
// store must pass [RunDurable], so that what a check finds is the bug.
func RunDurableBugs(t *testing.T, open Open) {
	for _, bug := range WriteBehindBugs {
		t.Run(strings.ReplaceAll(bug.Name, " ", "_"), func(t *testing.T) {
			var names []string
			for _, check := range DurableChecks {
				if check.on(t, bug.on(open)) != nil {
					names = append(names, check.Name)
				}
			}
			if t.Logf("caught by: %q", names); len(names) == 0 {
				t.Error("the checks find nothing wrong")
			}
		})
	}
}

// on runs the check in a new directory, in its own synctest bubble.
func (c DurableCheck) on(t *testing.T, open Open) (err error) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		err = c.run(t.Context(), func() (deviceauth.Storage, error) { return open(dir) })
	})
	return err
}

// pendingIsKept closes a store right after Create. A write-behind store has the grant
// only in memory, and must write it before it is closed.
func pendingIsKept(ctx context.Context, open func() (deviceauth.Storage, error)) error {
	s, err := open()
	if err != nil {
		return err
	}
	g := NewGrant("BCDFGHJK")
	if err := errors.Join(s.Create(ctx, g), s.Close()); err != nil {
		return err
	}
	// Like the next process, which has nothing of what the first one had in memory.
	if s, err = open(); err != nil {
		return err
	}
	return errors.Join(isPending(ctx, s, g), s.Close())
}

// isPending expects that a grant is found by its id, with which a device polls, and
// by its code, with which a person decides. Most stores have separate records for the
// two.
func isPending(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	got, err := s.Get(ctx, g.ID)
	if err != nil {
		return fmt.Errorf("by its id: %w", err)
	}
	if err := holds(ctx, s, g); err != nil {
		return fmt.Errorf("by its code: %w", err)
	}
	return same(got, g)
}

// decisionIsNotUndone approves a grant that a write-behind store has not written yet,
// and waits until it has. It must not write the grant in its earlier state: the
// device would keep polling, and a person could approve it twice.
func decisionIsNotUndone(ctx context.Context, open func() (deviceauth.Storage, error)) error {
	s, err := open()
	if err != nil {
		return err
	}
	g := NewGrant("BCDFGHJK")
	decided := errors.Join(s.Create(ctx, g), s.Update(ctx, g.ID, approve(person("work|1"))))
	time.Sleep(time.Second) // longer than any write delay
	if err := errors.Join(decided, isApproved(ctx, s, g), s.Close()); err != nil {
		return err
	}
	// It may have been undone only on disk, behind a cache.
	if s, err = open(); err != nil {
		return err
	}
	return errors.Join(isApproved(ctx, s, g), s.Close())
}

// isApproved expects that a grant is approved and its code is free: if the code still
// led to the grant, a person would be asked for a decision that has been made.
func isApproved(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	got, err := s.Get(ctx, g.ID)
	if err != nil || got.State != deviceauth.Approved {
		return fmt.Errorf("a grant that was approved: %+v, %w", got, err)
	}
	if _, err := s.ByUserCode(ctx, g.UserCode); !errors.Is(err, deviceauth.ErrNotFound) {
		return fmt.Errorf("the code of a grant that was approved: %w", err)
	}
	return nil
}

// reloadSeesPending opens a store twice, as in a reload: the new configuration opens
// it before the old one has closed it. A device that got its code from the old one
// polls the new one, which also records the person's decision.
func reloadSeesPending(ctx context.Context, open func() (deviceauth.Storage, error)) error {
	before, err := open()
	if err != nil {
		return err
	}
	g := NewGrant("BCDFGHJK")
	created := before.Create(ctx, g)
	after, err := open()
	if err != nil {
		return errors.Join(err, before.Close())
	}
	// Both see the grant, and the second one still does after the first is closed.
	seen := errors.Join(created, isPending(ctx, after, g), before.Close(), isPending(ctx, after, g))
	decided := after.Update(ctx, g.ID, approve(person("work|1")))
	return errors.Join(seen, decided, isApproved(ctx, after, g), after.Close())
}
