package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// A RevokeRequest is a revocation request (RFC 7009 §2.1).
type RevokeRequest struct {
	Client Credentials
	Token  string // a refresh or an access token
}

var errOtherClientsToken = NewError("invalid_grant", "this token is another client's")

// errInactiveToken is the error for a token that this server issued and that is no
// longer valid.
var errInactiveToken = errors.New("the token has ended")

// Revoke ends the grant of a valid token. An unknown token is no error (RFC 7009
// §2.2), and neither is one that is no longer valid: an expired access token or a
// used refresh token may be in some old log or backup, and must not be enough to
// disconnect a device. A used refresh token is valid during its grace period, so that
// a device is disconnected even if it signs out while another of its processes
// refreshes. Refusals: invalid_client; invalid_grant for another client's token,
// which stays valid.
func (e *Engine) Revoke(ctx context.Context, r RevokeRequest) error {
	client, err := e.authenticate(ctx, r.Client)
	if err != nil {
		return err
	}
	id, valid, ok := e.grantOf(r.Token)
	if !ok {
		return nil
	}
	err = e.end(ctx, id, ReasonRevoked, func(g *Grant) error {
		switch {
		case !valid(g):
			return errInactiveToken
		case g.ClientID != client.ID:
			return errOtherClientsToken
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) || errors.Is(err, errInactiveToken) {
		return nil
	}
	return err
}

// anyOwner permits ending the grant of any person.
func anyOwner(*Grant) error { return nil }

// end revokes a grant unless owned returns an error. It does not change a grant that
// has ended.
func (e *Engine) end(ctx context.Context, id ID, reason string, owned func(*Grant) error) error {
	_, err := e.finish(ctx, id, netip.Addr{}, func(g *Grant, now time.Time) error {
		if err := owned(g); err != nil {
			return err
		}
		return g.Revoke(now, reason)
	})
	return err
}

// finish applies a step that ends a grant, and wakes the grant's held polls. browser
// is the address of the person who ends it, if a person does.
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
		e.emitByPerson(EventRevoked, g, g.Person, browser)
	}
	return g, err
}

// grantOf returns the id of the grant of a token that this server issued. valid
// reports, for the stored grant, whether the token is still valid.
func (e *Engine) grantOf(token string) (id ID, valid func(*Grant) bool, ok bool) {
	if t, ok := e.refreshKey().parse(token); ok {
		return t.id, func(g *Grant) bool { return g.honours(e.now(), t.digest(), e.cfg.Lifetime.RefreshGrace) }, true
	}
	known, err := e.verified(token) // expired tokens are refused
	if err != nil {
		return id, nil, false
	}
	return known.Grant, (*Grant).IsActive, true
}
