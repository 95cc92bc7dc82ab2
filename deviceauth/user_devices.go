package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

var errNotConnected = NewError("not_connected", "this device is not connected to this account")

// Connections returns the grants of a person's connected devices, the newest first.
// Refusals: signed_out.
func (e *Engine) Connections(ctx context.Context, p *Person) ([]*Grant, error) {
	if err := e.stillSignedIn(ctx, p); err != nil {
		return nil, err
	}
	now := e.now()
	list, err := e.cfg.Store.ByOwner(ctx, p.Subject)
	list = slices.DeleteFunc(list, func(g *Grant) bool { return !g.isConnection(now) })
	slices.Reverse(list)
	return list, err
}

// Disconnect ends the grant of one of a person's devices. It does not change a grant
// that has ended. from is the address of the person's browser. Refusals: signed_out;
// not_connected if the device is not theirs.
func (e *Engine) Disconnect(ctx context.Context, p *Person, id ID, from netip.Addr) error {
	if err := e.stillSignedIn(ctx, p); err != nil {
		return err
	}
	_, err := e.finish(ctx, id, from, func(g *Grant, now time.Time) error {
		if !g.Belongs(p) {
			return errNotConnected
		}
		return g.Revoke(now, ReasonRevoked)
	})
	if errors.Is(err, ErrNotFound) {
		return errNotConnected
	}
	return err
}

// Rename sets the name of one of a person's devices as they typed it; an empty name
// removes it. from is the address of the person's browser. Refusals: signed_out;
// not_connected if the device is not theirs or no longer connected.
func (e *Engine) Rename(ctx context.Context, p *Person, id ID, typed string, from netip.Addr) error {
	if err := e.stillSignedIn(ctx, p); err != nil {
		return err
	}
	now, name, renamed := e.now(), text.CleanName(typed), false
	g, err := e.apply(ctx, id, func(g *Grant) error {
		before := g.Revision
		err := g.Rename(now, p, name)
		renamed = g.Revision != before
		return err
	})
	switch {
	case errors.Is(err, ErrNotFound):
		return errNotConnected
	case err == nil && renamed:
		e.emitByPerson(EventRenamed, g, p, from)
	}
	return err
}
