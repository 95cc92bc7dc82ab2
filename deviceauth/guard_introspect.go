package deviceauth

import (
	"context"
	"errors"
)

// Userinfo returns the claims that an access token gives access to, whatever its
// audience (OpenID Connect Core §5.3). Refusals: invalid_token, and
// insufficient_scope without openid.
func (e *Engine) Userinfo(ctx context.Context, token string) (Claims, error) {
	known, g, err := e.activeGrant(ctx, token)
	if err != nil {
		return nil, err
	}
	if !known.Scope.Has(ScopeOpenID) {
		return nil, ErrNoScope
	}
	return UserClaims(g.Person, known.Scope), nil
}

// An IntrospectRequest is an introspection request (RFC 7662 §2.1).
type IntrospectRequest struct {
	Client Credentials
	Token  string // an access token, or a refresh token of the same client
}

// An Introspection is the response about an active token (RFC 7662 §2.2).
type Introspection struct {
	Claims  AccessClaims // of an access token; for a refresh token the corresponding ones
	User    string
	Person  *Person // only for guards; its Upstream is set if there are several
	Refresh bool
}

var errNotConfidential = NewError("invalid_client", "introspection is for clients with a secret")

// Introspect returns the state of a token to a confidential client. It returns nil
// for a token that is not active: an expired, revoked or unknown token, and another
// client's refresh token. A client that introduced itself also gets nil for any token
// of another client. Refusals: invalid_client.
func (e *Engine) Introspect(ctx context.Context, r IntrospectRequest) (*Introspection, error) {
	client, err := e.authenticate(ctx, r.Client)
	if err != nil {
		return nil, err
	}
	if client.Public {
		return nil, errNotConfidential
	}
	if t, ok := e.refreshKey().parse(r.Token); ok {
		return e.introspectRefresh(ctx, client, t)
	}
	known, g, err := e.activeGrant(ctx, r.Token)
	if err == nil && client.ResourceServer {
		g, err = e.confirmed(ctx, g)
	}
	if AsError(err) != nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if client.Introduced && g.ClientID != client.ID { // the operator has not permitted it to see tokens of others
		return nil, nil
	}
	p := e.forBackends(g.Person)
	found := &Introspection{Claims: known.AccessClaims, User: p.User}
	if client.ResourceServer {
		found.Person = &Person{Subject: p.Subject, Upstream: p.Upstream, User: p.User, Claims: p.Claims,
			AuthTime: p.AuthTime}
	}
	return found, nil
}

// confirmed reads an active grant again, in its current state: a guard in another
// process caches the response for half a second, and if the store's Get returned an
// older state as well, a revoked device would not be refused within a second. If the
// store cannot return the current state, for example because its disk is full, the
// result of Get counts, as for guards in this process.
func (e *Engine) confirmed(ctx context.Context, g *Grant) (*Grant, error) {
	latest, err := e.latest(ctx, g.ID)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && !latest.IsActive():
		return nil, ErrBadToken
	case err != nil:
		return g, nil
	}
	return latest, nil
}

func (e *Engine) introspectRefresh(ctx context.Context, client *Client, t splitToken) (*Introspection, error) {
	g, err := e.latest(ctx, t.id) // the current token, not that of a moment ago
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	left, refusal := e.entitlement(client).terms(g, "", nil)
	if g.ClientID != client.ID || !g.rotates(e.now(), t.digest()) || refusal != nil {
		return nil, nil
	}
	return &Introspection{User: e.forBackends(g.Person).User, Refresh: true, Claims: AccessClaims{
		Issuer: e.cfg.Issuer, Audience: left.Audience, Subject: g.Person.Subject, ClientID: g.ClientID,
		Scope: left.Scope, Grant: g.ID,
		IssuedAt: g.Refresh.Rotated.Unix(), Expires: g.Refresh.Idle.Unix(),
	}}, nil
}
