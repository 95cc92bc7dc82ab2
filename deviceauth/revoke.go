package deviceauth

import (
	"context"
	"errors"
	"time"
)

// A RevokeRequest is a client giving a token back (RFC 7009 §2.1).
type RevokeRequest struct {
	Client Credentials
	Token  string // a refresh or an access token
}

var errNotYours = Refuse("invalid_grant", "this token is another client's")

// Revoke ends the grant that a token belongs to; a token that is not known is
// no error (RFC 7009 §2.2). Refusals: invalid_client; invalid_grant for another
// client's token, which stays as it is.
func (e *Engine) Revoke(ctx context.Context, r RevokeRequest) error {
	client, err := e.authenticate(r.Client)
	if err != nil {
		return err
	}
	id, ok := e.grantOf(r.Token)
	if !ok {
		return nil
	}
	err = e.end(ctx, id, ReasonRevoked, func(g *Grant) error {
		if g.ClientID != client.ID {
			return errNotYours
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// anybodys are the grants that may be ended whoever they belong to.
func anybodys(*Grant) error { return nil }

// end revokes a grant, where owned does not refuse. One that has ended stays
// as it is.
func (e *Engine) end(ctx context.Context, id ID, reason string, owned func(*Grant) error) error {
	_, err := e.finish(ctx, id, func(g *Grant, now time.Time) error {
		if err := owned(g); err != nil {
			return err
		}
		return g.Revoke(now, reason)
	})
	return err
}

// finish runs a step that ends a grant, and tells whoever waits for that.
func (e *Engine) finish(ctx context.Context, id ID, step func(*Grant, time.Time) error) (*Grant, error) {
	now, ended := e.now(), false
	g, err := e.apply(ctx, id, func(g *Grant) error {
		before := g.State
		err := step(g, now)
		ended = g.State != before
		return err
	})
	if err == nil && ended {
		e.cfg.Live.wake(id)
		e.tell(EventRevoked, g, g.Person)
	}
	return g, err
}

// grantOf reads the grant's id out of a token of ours, whatever became of it:
// an expired access token still names the grant that is to end.
func (e *Engine) grantOf(token string) (ID, bool) {
	if t, ok := e.refresh.parse(token); ok {
		return t.id, true
	}
	var claims AccessClaims
	if e.cfg.Signer.Verify(TypeAccess, token, &claims) == nil && claims.Issuer == e.cfg.Issuer {
		return claims.Grant, true
	}
	return ID{}, false
}
