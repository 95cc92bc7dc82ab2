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

// A DurableCheck is one promise of a store that keeps grants over its Close, and that
// several configurations of one process share over a reload.
type DurableCheck struct {
	Name string
	run  func(ctx context.Context, open func() (deviceauth.Storage, error)) error
}

// DurableChecks are all of these promises. Those of [Checks] are about one opened store;
// a store whose records end with the process, such as a map, keeps those and not these.
var DurableChecks = []DurableCheck{
	{Name: "a pending grant is kept over Close", run: pendingIsKept},
	{Name: "a decision is not undone by a write behind it", run: decisionIsNotUndone},
	{Name: "a reload sees what is pending", run: reloadSeesPending},
}

// RunDurable runs the checks, each in a new directory and in a bubble of its own time,
// so that a store's delays and retries take none of the test's. A directory that open has opened already is to be the
// same store, closed when all who opened it have closed it.
func RunDurable(t *testing.T, open Open) {
	for _, check := range DurableChecks {
		t.Run(strings.ReplaceAll(check.Name, " ", "_"), func(t *testing.T) {
			if err := check.on(t, open); err != nil {
				t.Error(err)
			}
		})
	}
}

// RunDurableBugs fails unless the checks catch every [WriteBehindBugs] on a store. The
// store is a good one that passes [RunDurable]: then what a check finds is the bug.
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

// on runs the check on a new directory, in a bubble of its own time.
func (c DurableCheck) on(t *testing.T, open Open) (err error) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		err = c.run(t.Context(), func() (deviceauth.Storage, error) { return open(dir) })
	})
	return err
}

// pendingIsKept closes a store right after a Create. A store that writes behind has
// the grant in memory only, and has to write it before it is closed.
func pendingIsKept(ctx context.Context, open func() (deviceauth.Storage, error)) error {
	s, err := open()
	if err != nil {
		return err
	}
	g := NewGrant("BCDFGHJK")
	if err := errors.Join(s.Create(ctx, g), s.Close()); err != nil {
		return err
	}
	// The next process: nothing is left of what the first one had in memory.
	if s, err = open(); err != nil {
		return err
	}
	return errors.Join(isPending(ctx, s, g), s.Close())
}

// isPending wants a grant to be found by its id, with which a device polls, and by its
// code, with which a person decides. The two are separate records of most stores.
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

// decisionIsNotUndone approves a grant that a store which writes behind has not
// written yet, and waits until it has. What it writes then must not be the grant as it
// was: a device would poll on, and a person could approve it twice.
func decisionIsNotUndone(ctx context.Context, open func() (deviceauth.Storage, error)) error {
	s, err := open()
	if err != nil {
		return err
	}
	g := NewGrant("BCDFGHJK")
	decided := errors.Join(s.Create(ctx, g), s.Update(ctx, g.ID, approve(person("work|1"))))
	time.Sleep(time.Second) // above any delay of a write
	if err := errors.Join(decided, isApproved(ctx, s, g), s.Close()); err != nil {
		return err
	}
	// It may have been undone on the disk only, under a cache that hides it.
	if s, err = open(); err != nil {
		return err
	}
	return errors.Join(isApproved(ctx, s, g), s.Close())
}

// isApproved wants a grant to be approved, and its code to be free: a code that still
// led to the grant would show a person a decision to make that was made.
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

// reloadSeesPending opens a store twice, as a reload does: the next configuration opens
// it before the one before has closed it. A device that got its code from the one before
// polls the next one, and the person's decision is taken by that one, too.
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
	// The grant is seen by both, and goes on being seen when the first one leaves.
	seen := errors.Join(created, isPending(ctx, after, g), before.Close(), isPending(ctx, after, g))
	decided := after.Update(ctx, g.ID, approve(person("work|1")))
	return errors.Join(seen, decided, isApproved(ctx, after, g), after.Close())
}
