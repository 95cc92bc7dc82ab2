package deviceauth

import (
	"context"
	"errors"
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
	now, ended := e.now(), false
	g, err := e.apply(ctx, id, func(g *Grant) error {
		if g.ClientID != client.ID {
			return errNotYours
		}
		before := g.State
		err := g.Revoke(now, ReasonRevoked)
		ended = g.State != before
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil && ended {
		e.tell(EventRevoked, g, g.Person)
	}
	return err
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
