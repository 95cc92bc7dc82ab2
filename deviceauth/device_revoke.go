package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// A RevokeRequest is a client giving a token back (RFC 7009 §2.1).
type RevokeRequest struct {
	Client Credentials
	Token  string // a refresh or an access token
}

var errNotYours = NewError("invalid_grant", "this token is another client's")

// errNotLiving is a token that was one of ours and is good for nothing any more.
var errNotLiving = errors.New("the token has ended")

// Revoke ends the grant that a living token belongs to. A token that is not
// known is no error (RFC 7009 §2.2), and one that has ended is not known: an
// expired access token or a spent refresh token, which stands in some old log
// or backup, must not be enough to disconnect a device. Within its grace a
// refresh token lives on: else a device that signs out while another process of
// its refreshes would stay connected. Refusals:
// invalid_client; invalid_grant for another client's token, which stays as it is.
func (e *Engine) Revoke(ctx context.Context, r RevokeRequest) error {
	client, err := e.authenticate(ctx, r.Client)
	if err != nil {
		return err
	}
	id, lives, ok := e.grantOf(r.Token)
	if !ok {
		return nil
	}
	err = e.end(ctx, id, ReasonRevoked, func(g *Grant) error {
		switch {
		case !lives(g):
			return errNotLiving
		case g.ClientID != client.ID:
			return errNotYours
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, errNotLiving) {
		return nil
	}
	return err
}

// anyOwner allows a grant of any person to be ended.
func anyOwner(*Grant) error { return nil }

// end revokes a grant, where owned does not refuse. One that has ended stays
// as it is.
func (e *Engine) end(ctx context.Context, id ID, reason string, owned func(*Grant) error) error {
	_, err := e.finish(ctx, id, netip.Addr{}, func(g *Grant, now time.Time) error {
		if err := owned(g); err != nil {
			return err
		}
		return g.Revoke(now, reason)
	})
	return err
}

// finish runs a step that ends a grant, and wakes the polls that wait for that. browser is
// where the person is who does it, if one does.
func (e *Engine) finish(
	ctx context.Context, id ID, browser netip.Addr, step func(*Grant, time.Time) error,
) (*Grant, error) {
	now, ended := e.now(), false
	g, err := e.apply(ctx, id, func(g *Grant) error {
		before := g.State
		err := step(g, now)
		ended = g.State != before
		return err
	})
	if err == nil && ended {
		e.cfg.PollState.wake(id)
		e.by(EventRevoked, g, g.Person, browser)
	}
	return g, err
}

// grantOf reads the grant's id out of a token of ours. lives reports, of the
// grant as the store has it, whether the token is still good for something.
func (e *Engine) grantOf(token string) (id ID, lives func(*Grant) bool, ok bool) {
	if t, ok := e.refreshKey().parse(token); ok {
		return t.id, func(g *Grant) bool { return g.honours(e.now(), t.digest(), e.cfg.Lifetime.RefreshGrace) }, true
	}
	known, err := e.verified(token) // which wants it in time
	if err != nil {
		return id, nil, false
	}
	return known.Grant, (*Grant).IsActive, true
}
