package deviceauth

import (
	"context"
	"errors"
	"slices"
	"time"
)

var errNotConnected = Refuse("not_connected", "this device is not connected to this account")

// Connected reports whether the device can still use what it was given.
func (g *Grant) Connected(now time.Time) bool {
	return g.State == Active && (now.Before(g.AccessUntil) || g.Refresh != nil && now.Before(g.Refresh.Idle))
}

// Used is when the device last came for tokens.
func (g *Grant) Used() time.Time {
	if g.Refresh != nil {
		return g.Refresh.Rotated
	}
	return g.Redeemed
}

// Connections returns the grants of a person whose devices are connected, the
// newest first. Refusals: signed_out.
func (e *Engine) Connections(ctx context.Context, p *Person) ([]*Grant, error) {
	if err := e.stillSignedIn(ctx, p); err != nil {
		return nil, err
	}
	now := e.now()
	list, err := e.cfg.Store.ByOwner(ctx, p.Subject)
	list = slices.DeleteFunc(list, func(g *Grant) bool { return !g.Connected(now) })
	slices.Reverse(list)
	return list, err
}

// Disconnect ends the grant of one of a person's devices. One that has ended
// stays as it is. Refusals: signed_out; not_connected, where it is not theirs.
func (e *Engine) Disconnect(ctx context.Context, p *Person, id ID) error {
	if err := e.stillSignedIn(ctx, p); err != nil {
		return err
	}
	err := e.end(ctx, id, ReasonRevoked, func(g *Grant) error {
		if g.Person == nil || g.Person.Subject != p.Subject {
			return errNotConnected
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return errNotConnected
	}
	return err
}
