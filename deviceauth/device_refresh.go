package deviceauth

import (
	"context"
	"errors"
	"net/netip"
	"time"
)

// A RefreshRequest is a refresh request (RFC 6749 §6).
type RefreshRequest struct {
	Client       Credentials
	RefreshToken string
	Scope        string   // empty: the granted scope
	Resource     []string // the audience of this access token (RFC 8707 §2.2); none: all that was granted
	Nulls        bool     // as in a [RedeemRequest]
}

// Refresh rotates a refresh token. Refusals: invalid_client, invalid_grant,
// invalid_scope, invalid_target, and unauthorized_client if the client may not have
// refresh tokens at all.
func (e *Engine) Refresh(ctx context.Context, r RefreshRequest) (*Tokens, error) {
	client, err := e.authenticate(ctx, r.Client)
	if err != nil {
		return nil, err
	}
	if !client.Scope.Has(ScopeOfflineAccess) {
		return nil, NewError("unauthorized_client", "this client may not use refresh tokens")
	}
	scope, err := ParseScope(r.Scope)
	if err != nil {
		return nil, err
	}
	key := e.refreshKey() // one for the whole request: another gateway may change it meanwhile
	presented, ok := key.parse(r.RefreshToken)
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
	asked := refreshing{client: client, key: key, presented: presented, scope: scope, resource: r.Resource,
		nulls: r.Nulls}
	tokens, err := e.rotate(ctx, g, asked)
	if errors.Is(err, errNotRevalidated) { // the grant had changed; the store now returns the newest
		if g, err = e.latest(ctx, presented.id); err == nil {
			tokens, err = e.rotate(ctx, g, asked)
		}
	}
	return tokens, err
}

// refreshing is a checked [RefreshRequest]: its client is authenticated, and the
// grant is the client's.
type refreshing struct {
	client    *Client
	key       refreshKey
	presented splitToken
	scope     Scope
	resource  []string
	nulls     bool
}

// rotation returns the arguments of [Grant.Rotate].
func (e *Engine) rotation(g *Grant, r refreshing) Rotation {
	return Rotation{
		ClientID: r.client.ID, Person: e.named(g.Person), Permitted: e.permitted(r.client),
		Entitled:  e.entitlement(r.client),
		Presented: r.presented.digest(), Successor: r.key.successor(r.presented).digest(),
		Scope: r.scope, Resource: r.resource, Idle: e.cfg.Lifetime.RefreshIdle, Grace: e.cfg.Lifetime.RefreshGrace,
	}
}

// errNotRevalidated aborts a rotation for which the upstream has not been asked.
var errNotRevalidated = errors.New("the upstream has not been asked about the person")

// revalidated returns the person with their current claims, or nil if the upstream no
// longer vouches for them.
func (e *Engine) revalidated(ctx context.Context, p *Person) (*Person, error) {
	now, err := e.cfg.Revalidate(ctx, p)
	if AsError(err) != nil {
		return nil, nil
	}
	return e.named(now), err
}

// rotate creates the new tokens before the grant is changed, for the reason explained
// at tokenRequest.answer, and returns them if the grant permits it.
func (e *Engine) rotate(ctx context.Context, g *Grant, asked refreshing) (tokens *Tokens, err error) {
	now, rotation := e.now(), e.rotation(g, asked)
	ask := e.cfg.Revalidate != nil && g.rotates(now, rotation.Presented)
	if ask {
		if rotation.Person, err = e.revalidated(ctx, g.Person); err != nil {
			return nil, err
		}
		now = e.now() // the upstream may have taken seconds
	}
	if tokens, err = e.successors(g, rotation, now, asked); err != nil {
		return nil, err
	}
	if tokens != nil {
		rotation.AccessUntil = tokens.until
	}
	if e.cfg.PollState.undelivered.rotation(g, rotation.Presented, now) {
		rotation.Grace = max(rotation.Grace, undeliveredGrace) // the client may not have received the successor
	}
	ended := false
	after, err := e.apply(ctx, g.ID, func(g *Grant) error {
		if e.cfg.Revalidate != nil && !ask && g.rotates(now, rotation.Presented) {
			return errNotRevalidated
		}
		before := g.State
		err := g.Rotate(now, rotation)
		ended = g.State != before
		return err
	})
	if err != nil {
		return nil, e.reportRefusal(g.ID, after, rotation, now, ended, err)
	}
	e.cfg.PollState.undelivered.forget(g.ID)
	e.emit(EventRefreshed, after, after.Person)
	return tokens, nil
}

// successors returns the tokens of a rotation, or nil if the grant is going to refuse
// it.
func (e *Engine) successors(g *Grant, r Rotation, now time.Time, asked refreshing) (*Tokens, error) {
	terms, refusal := r.terms(g)
	if r.Person == nil || refusal != nil {
		return nil, nil
	}
	theirs := *g
	theirs.Person = r.Person
	tokens, err := e.issue(&theirs, terms, now, asked.nulls)
	if err == nil {
		tokens.RefreshToken = asked.key.refreshToken(asked.key.successor(asked.presented))
		if g.Refresh != nil { // else the grant refuses
			tokens.RefreshExpiresIn = earlier(now.Add(r.Idle), g.Refresh.Until).Sub(now)
		}
	}
	return tokens, err
}

// reportRefusal emits an audit event for a rotation that failed, and remembers a
// rotation of which it is not known whether the store wrote it.
func (e *Engine) reportRefusal(id ID, after *Grant, r Rotation, now time.Time, ended bool, err error) error {
	switch {
	case errors.Is(err, errNotRevalidated):
	case after == nil && AsError(err) == nil && !errors.Is(err, ErrNotFound):
		e.cfg.PollState.undelivered.note(id, undelivered{presented: r.Presented}, now)
	case ended && (after.Reason == ReasonBarred || after.Reason == ReasonDisabled):
		e.emitBarred(after, after.Person, e.client(after.ClientID), netip.Addr{})
	case ended:
		e.emit(EventReplayed, after, nil)
	}
	return err
}
