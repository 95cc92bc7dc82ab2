package storetest

import (
	"context"
	"fmt"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// browserIDIsTakenOnce submits the page of one authorization request many times at
// once, and then again: a grant that was decided must not be created a second time.
// The id of such a grant is part of the page, so unlike a device's it may arrive
// twice.
func browserIDIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("")
	g.UserCode, g.Redirect, g.Nonce = deviceauth.UserCode(g.ID.String()), "http://127.0.0.1/callback", "n"
	allow := func() error {
		own := *g
		return first(
			func() error { return s.Create(ctx, &own) },
			func() error { return s.Update(ctx, g.ID, approve(person("work|1"))) },
		)
	}
	// One request creates and approves the grant. The others fail at one of the two
	// steps.
	won, _ := race(func(int) error { return allow() })
	if won != 1 {
		return fmt.Errorf("%d of %d posts of one page were taken", won, racers)
	}
	// A store that keeps only pending grants in memory would accept this one.
	if err := exists(s.Create(ctx, g)); err != nil {
		return fmt.Errorf("after the decision: %w", err)
	}
	// The approved grant is still there, with its redirect URI.
	got, err := s.Get(ctx, g.ID)
	if err != nil || got.State != deviceauth.Approved || got.Redirect != g.Redirect || got.Nonce != g.Nonce {
		return fmt.Errorf("got %+v, %w", got, err)
	}
	return nil
}
