package deviceauth

import (
	"context"
	"errors"
)

// A RefreshRequest is a device asking for new tokens (RFC 6749 §6).
type RefreshRequest struct {
	Client       Credentials
	RefreshToken string
	Scope        string // empty: all that was granted
	Nulls        bool   // as in a [RedeemRequest]
}

// Refresh rotates a refresh token. Refusals: invalid_client, invalid_grant,
// invalid_scope, and unauthorized_client where the client may not have refresh
// tokens at all.
func (e *Engine) Refresh(ctx context.Context, r RefreshRequest) (*Tokens, error) {
	client, err := e.authenticate(r.Client)
	if err != nil {
		return nil, err
	}
	if !client.Scope.Has(ScopeOfflineAccess) {
		return nil, Refuse("unauthorized_client", "this client may not use refresh tokens")
	}
	scope, err := ParseScope(r.Scope)
	if err != nil {
		return nil, err
	}
	presented, ok := e.refresh.parse(r.RefreshToken)
	if !ok {
		return nil, errUnknownToken
	}
	g, err := e.redeemed(ctx, presented.id)
	if errors.Is(err, ErrNotFound) || err == nil && (g.Person == nil || g.ClientID != client.ID) {
		return nil, errUnknownToken
	}
	if err != nil {
		return nil, err
	}
	return e.rotate(ctx, g, presented, scope, r.Nulls)
}

// rotate makes the new tokens ahead, for the reason that poll.answer gives,
// and hands them out if the grant agrees.
func (e *Engine) rotate(ctx context.Context, g *Grant, presented splitToken, scope Scope, nulls bool) (*Tokens, error) {
	now, successor := e.now(), e.refresh.successor(presented)
	narrowed := scope
	orDefault(&narrowed, g.Scope)
	tokens, err := e.issue(g, narrowed, now, nulls)
	if err != nil {
		return nil, err
	}
	tokens.RefreshToken = e.refresh.refreshToken(successor)
	rotation := Rotation{
		ClientID: g.ClientID, Permitted: e.Permits, Presented: presented.digest(), Successor: successor.digest(), Scope: scope,
		Idle: e.cfg.Lifetime.RefreshIdle, Grace: e.cfg.Lifetime.RefreshGrace, AccessUntil: tokens.until,
	}
	if e.cfg.Live.undelivered.rotation(g, rotation.Presented, now) {
		rotation.Grace = max(rotation.Grace, patience) // nobody has heard of the successor
	}
	ended := false
	after, err := e.apply(ctx, g.ID, func(g *Grant) error {
		before := g.State
		err := g.Rotate(now, rotation)
		ended = g.State != before
		return err
	})
	switch {
	case after == nil && Refused(err) == nil && !errors.Is(err, ErrNotFound):
		e.cfg.Live.undelivered.note(g.ID, handout{presented: rotation.Presented}, now)
		return nil, err
	case ended && after.Reason == ReasonBarred:
		e.tell(EventBarred, after, after.Person)
	case ended:
		e.tell(EventReplayed, after, nil)
	}
	if err != nil {
		return nil, err
	}
	e.cfg.Live.undelivered.forget(g.ID)
	e.tell(EventRefreshed, after, after.Person)
	return tokens, nil
}
