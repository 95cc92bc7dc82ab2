package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// The checks of user codes: who has one, and when it is free again.

// codeIsTakenOnce wants ErrExists for a second grant with a pending one's code.
// RFC 8628 §3.3 has a person type the code, so it must mean one device. The
// refused grant must not be left behind under its id.
func codeIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g, other := NewGrant("BCDFGHJK"), NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	if err := exists(s.Create(ctx, other)); err != nil {
		return err
	}
	// A store of two keys has to undo the first write where the second is
	// refused.
	if _, err := s.Get(ctx, other.ID); !errors.Is(err, deviceauth.ErrNotFound) {
		return fmt.Errorf("a grant that was refused is there: %v", err)
	}
	return nil
}

// codeRaceHasOneWinner creates many grants with one code at once.
// Here race counts the refusals: a create that is told ErrExists counts, and
// the one that succeeds does not. The code is freed after each round, and the
// next round has it again.
func codeRaceHasOneWinner(ctx context.Context, s deviceauth.Storage) error {
	// One round rarely hits the moment between the check and the write.
	for range 20 {
		g := NewGrant("BCDFGHJK")
		won, _ := race(func(int) error {
			err := s.Create(ctx, NewGrant("BCDFGHJK"))
			if err != nil {
				return exists(err) // nil where it is ErrExists; counted below
			}
			return errOnPurpose
		})
		if won != racers-1 {
			return fmt.Errorf("%d of %d creates were told ErrExists, want all but one", won, racers)
		}
		// The winner has to be complete: found by its code, and able to be
		// updated.
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

// decisionFreesCode wants a decided grant's code to be free at once.
// A code is unique among pending grants only. After the decision the code is
// not found any more, and another grant may have it: the code space stays large
// while many devices are connected (RFC 8628 §5.1).
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

// changeKeepsCode changes a grant right after it was created, when a store that
// writes behind has written neither the grant nor its code. The change is on the disk
// when Update returns, and the code must have come there with it.
func changeKeepsCode(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	return first(
		func() error { return s.Create(ctx, g) },
		func() error { return s.Update(ctx, g.ID, func(*deviceauth.Grant) error { return nil }) },
		func() error { return holds(ctx, s, g) },
		func() error { return exists(s.Create(ctx, NewGrant("BCDFGHJK"))) },
	)
}

// holds wants a grant to be the one that waits for its code. It also shows
// that the code was not handed to another grant meanwhile.
func holds(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	got, err := s.ByUserCode(ctx, g.UserCode)
	if err != nil {
		return err
	}
	return same(got, g)
}

// expiryFreesCode wants the code of an expired grant to be free for another.
// In a bubble of synctest the sleep takes no time. Stores with a resolution of
// whole seconds may free the code up to 5 s late, which no device notices: the
// page refuses an expired grant in any case.
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

// freedCodeIsNotTakenBack wants a code to stay with its second owner.
// Neither a later update nor the expiry of the first grant may delete the
// code's entry, which by then belongs to the second. A store that deletes by
// code, and not by code and id, fails here.
func freedCodeIsNotTakenBack(ctx context.Context, s deviceauth.Storage) error {
	g, next := NewGrant("BCDFGHJK"), NewGrant("BCDFGHJK")
	g.Expires = g.Created.Add(2 * time.Second)
	return first(
		func() error { return s.Create(ctx, g) },
		func() error { return s.Update(ctx, g.ID, approve(person("work|1"))) },
		func() error { return s.Create(ctx, next) },
		func() error {
			return s.Update(ctx, g.ID, func(g *deviceauth.Grant) error { return g.Revoke(time.Now(), "test") })
		},
		func() error { return holds(ctx, s, next) },
		func() error { time.Sleep(6 * time.Second); return holds(ctx, s, next) },
	)
}
