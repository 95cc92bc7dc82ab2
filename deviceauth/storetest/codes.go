package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Checks of user codes: their uniqueness, and when they become free.

// codeIsTakenOnce expects ErrExists for a second grant with the code of a pending
// one. A person types the code (RFC 8628 §3.3), so it must identify one device. The
// refused grant must not be stored under its id.
func codeIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g, other := NewGrant("BCDFGHJK"), NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	if err := exists(s.Create(ctx, other)); err != nil {
		return err
	}
	// A store with two keys must undo the first write if the second is refused.
	if _, err := s.Get(ctx, other.ID); !errors.Is(err, deviceauth.ErrNotFound) {
		return fmt.Errorf("a grant that was refused is there: %v", err)
	}
	return nil
}

// codeRaceHasOneWinner creates many grants with the same code at once. It makes race
// count the refusals: ErrExists counts as a success, and the create that succeeds
// does not. Each round frees the code for the next one.
func codeRaceHasOneWinner(ctx context.Context, s deviceauth.Storage) error {
	// A single round rarely hits the moment between check and write.
	for range 20 {
		g := NewGrant("BCDFGHJK")
		won, _ := race(func(int) error {
			err := s.Create(ctx, NewGrant("BCDFGHJK"))
			if err != nil {
				return exists(err) // nil for ErrExists, which race counts
			}
			return errOnPurpose
		})
		if won != racers-1 {
			return fmt.Errorf("%d of %d creates were told ErrExists, want all but one", won, racers)
		}
		// The winner must be complete: found by its code, and updatable.
		found, err := s.ByUserCode(ctx, g.UserCode)
		if err != nil {
			return err
		}
		if err := s.Update(ctx, found.ID,
			func(g *deviceauth.Grant) error { return g.Deny(time.Now(), "") }); err != nil {
			return err
		}
	}
	return nil
}

// decisionFreesCode expects that a decided grant's code is free at once. A code is
// unique among pending grants only. After the decision it is no longer found, and
// another grant may have it, so that enough codes are free while many devices are
// connected (RFC 8628 §5.1).
func decisionFreesCode(ctx context.Context, s deviceauth.Storage) error {
	g, next := NewGrant("BCDFGHJK"), NewGrant("BCDFGHJK")
	return first(
		func() error { return s.Create(ctx, g) },
		func() error { return holds(ctx, s, g) },
		func() error { return s.Update(ctx, g.ID, approve(person("work|1"))) },
		func() error {
			if got, err := s.ByUserCode(ctx, g.UserCode); !errors.Is(err, deviceauth.ErrNotFound) {
				return fmt.Errorf("a decided grant is still found by its code: %v, %v", got, err)
			}
			return nil
		},
		func() error { return s.Create(ctx, next) },
		func() error { return holds(ctx, s, next) },
	)
}

// changeKeepsCode changes a grant right after it was created, when a write-behind
// store has written neither the grant nor its code. When Update returns the change is
// on disk, and the code must be, too.
func changeKeepsCode(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	return first(
		func() error { return s.Create(ctx, g) },
		func() error { return s.Update(ctx, g.ID, func(*deviceauth.Grant) error { return nil }) },
		func() error { return holds(ctx, s, g) },
		func() error { return exists(s.Create(ctx, NewGrant("BCDFGHJK"))) },
	)
}

// holds expects that a pending grant is found by its code, and that the code has not
// been given to another grant.
func holds(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	got, err := s.ByUserCode(ctx, g.UserCode)
	if err != nil {
		return err
	}
	return same(got, g)
}

// expiryFreesCode expects that the code of an expired grant is free. In a synctest
// bubble the sleep takes no time. Stores with a resolution of whole seconds may free
// the code up to 5 s late, which has no effect: the page refuses an expired grant in
// any case.
func expiryFreesCode(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	g.Expires = g.Created.Add(time.Second)
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	time.Sleep(time.Until(g.Expires) + 5*time.Second) // whole seconds, and a margin
	next := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, next); err != nil {
		return fmt.Errorf("the code of an expired grant: %w", err)
	}
	return holds(ctx, s, next)
}

// freedCodeIsNotTakenBack expects that a code stays with its second grant. Neither a
// later update nor the expiry of the first grant may delete the code's entry, which
// belongs to the second by then. A store that deletes by code instead of by code and
// id fails here.
func freedCodeIsNotTakenBack(ctx context.Context, s deviceauth.Storage) error {
	var next *deviceauth.Grant
	err := inTime(func(code deviceauth.UserCode) (deadline time.Time, err error) {
		g := NewGrant(code)
		g.Expires = g.Created.Add(2 * time.Second)
		next = NewGrant(code)
		return g.Expires, first(
			func() error { return s.Create(ctx, g) },
			func() error { return s.Update(ctx, g.ID, approve(person("work|1"))) },
			func() error { return s.Create(ctx, next) },
			func() error {
				return s.Update(ctx, g.ID, func(g *deviceauth.Grant) error { return g.Revoke(time.Now(), "test") })
			},
		)
	})
	return first(
		func() error { return err },
		func() error { return holds(ctx, s, next) },
		func() error { time.Sleep(6 * time.Second); return holds(ctx, s, next) },
	)
}
