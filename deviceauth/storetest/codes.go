package storetest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// The checks of user codes: who has one, and when it is free again.

func codeIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g, other := NewGrant("BCDFGHJK"), NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	if err := exists(s.Create(ctx, other)); err != nil {
		return err
	}
	if _, err := s.Get(ctx, other.ID); !errors.Is(err, deviceauth.ErrNotFound) {
		return fmt.Errorf("a grant that was refused is there: %v", err)
	}
	return nil
}

func codeRaceHasOneWinner(ctx context.Context, s deviceauth.Storage) error {
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
		holder, err := s.ByUserCode(ctx, g.UserCode)
		if err != nil {
			return err
		}
		if err := s.Update(ctx, holder.ID, func(g *deviceauth.Grant) error { return g.Deny(time.Now(), "") }); err != nil {
			return err
		}
	}
	return nil
}

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
// writes behind has written neither the grant nor its code.
func changeKeepsCode(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	return first(
		func() error { return s.Create(ctx, g) },
		func() error { return s.Update(ctx, g.ID, func(*deviceauth.Grant) error { return nil }) },
		func() error { return holds(ctx, s, g) },
		func() error { return exists(s.Create(ctx, NewGrant("BCDFGHJK"))) },
	)
}

// holds wants a grant to be the one that waits for its code.
func holds(ctx context.Context, s deviceauth.Storage, g *deviceauth.Grant) error {
	got, err := s.ByUserCode(ctx, g.UserCode)
	if err != nil {
		return err
	}
	return same(got, g)
}

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
