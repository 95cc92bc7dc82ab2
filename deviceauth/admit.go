package deviceauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync"
	"time"
)

// A Requirement is what a guard asks of a token.
type Requirement struct {
	Audience []string // any of these; none: any of the server's
	Scope    Scope    // all of these
}

// An Identity is who stands behind a request.
type Identity struct {
	Person   *Person
	ClientID string
	Scope    Scope
	Grant    ID
	Expires  time.Time
}

// What a guard tells (RFC 6750 §3.1).
var (
	errBadToken = Refuse("invalid_token", "the access token is malformed, expired, revoked or for another audience")
	errNoScope  = Refuse("insufficient_scope", "the access token lacks a scope that this resource needs")
)

// Admit checks an access token. The token itself is verified once and then
// known by its digest; whether its grant lives is asked every time, so that a
// revocation waits for no cache. Refusals: invalid_token, insufficient_scope.
func (e *Engine) Admit(ctx context.Context, token string, need Requirement) (*Identity, error) {
	claims, g, err := e.living(ctx, token)
	if err != nil {
		return nil, err
	}
	audience := need.Audience
	if len(audience) == 0 {
		audience = e.cfg.Audience
	}
	if !slices.ContainsFunc(claims.Audience, func(a string) bool { return slices.Contains(audience, a) }) {
		return nil, errBadToken
	}
	if !need.Scope.Within(claims.Scope) {
		return nil, errNoScope
	}
	return &Identity{g.Person, g.ClientID, claims.Scope, g.ID, time.Unix(claims.Expires, 0)}, nil
}

// living returns the claims of an access token of ours, whatever its audience,
// and its grant, if both are good.
func (e *Engine) living(ctx context.Context, token string) (*AccessClaims, *Grant, error) {
	claims, err := e.verified(token)
	if err != nil {
		return nil, nil, err
	}
	g, err := e.redeemed(ctx, claims.Grant)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, nil, err
	}
	if err != nil || !g.Alive() || e.clients[g.ClientID] == nil {
		return nil, nil, errBadToken
	}
	return claims, g, nil
}

// redeemed returns the grant of a token of ours. Since there is one, the grant
// was redeemed: where the store does not know that yet, it is asked again in
// the way that is never behind.
func (e *Engine) redeemed(ctx context.Context, id ID) (*Grant, error) {
	g, err := e.cfg.Store.Get(ctx, id)
	if err != nil || !g.Redeemed.IsZero() {
		return g, err
	}
	return e.apply(ctx, id, func(*Grant) error { return nil })
}

// verified returns the claims of a token that is ours and in time.
func (e *Engine) verified(token string) (*AccessClaims, error) {
	key, now := sha256.Sum256([]byte(token)), time.Now()
	claims := e.admitted.get(key)
	if claims == nil {
		claims = new(AccessClaims)
		if e.cfg.Signer.Verify(TypeAccess, token, claims) != nil || !claims.complete() || claims.Issuer != e.cfg.Issuer {
			return nil, errBadToken
		}
	}
	if now.Unix() >= claims.Expires {
		return nil, errBadToken
	}
	e.admitted.put(key, claims)
	return claims, nil
}

// complete reports whether nothing is missing that a decision rests on.
func (c *AccessClaims) complete() bool {
	return c.Expires != 0 && c.Subject != "" && len(c.Audience) > 0 && c.Grant != ID{}
}

// admissions remembers tokens that were verified, in two generations: when the
// young one is full it becomes the old one, and what was not asked for since
// is forgotten. A token verified is a fact for ever; only its time and its
// grant are not, and those are looked at on every request.
type admissions struct {
	mu         sync.RWMutex
	young, old map[[32]byte]*AccessClaims
}

// generation bounds the memory: two times so many tokens of some 500 bytes.
const generation = 20_000

func newAdmissions() *admissions { return &admissions{young: map[[32]byte]*AccessClaims{}} }

func (a *admissions) get(key [32]byte) *AccessClaims {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if c := a.young[key]; c != nil {
		return c
	}
	return a.old[key]
}

func (a *admissions) put(key [32]byte, c *AccessClaims) {
	a.mu.RLock()
	known := a.young[key] != nil
	a.mu.RUnlock()
	if known {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.young) >= generation {
		a.old, a.young = a.young, map[[32]byte]*AccessClaims{}
	}
	a.young[key] = c
}
