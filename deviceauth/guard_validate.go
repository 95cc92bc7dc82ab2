package deviceauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

// A Requirement is what a guard requires of a token.
type Requirement struct {
	Audience []string // any of these; none: any audience of the server
	Scope    Scope    // all of these
}

// Errors for the client of a guarded resource (RFC 6750 §3.1).
var (
	ErrBadToken = NewError("invalid_token", "the access token is malformed, expired, revoked or for another audience")
	ErrNoScope  = NewError("insufficient_scope", "the access token lacks a scope that this resource needs")
)

// Reasons for refusing a token, for the operator's log. The client is not told.
const (
	TokenMalformed = "malformed" // not an access token, or without a required claim
	TokenSignature = "signature" // not signed as an access token with a key of the server
	TokenIssuer    = "issuer"    // signed by the server under another issuer URL
	TokenExpired   = "expired"
	TokenRevoked   = "revoked" // its grant has ended, or its client was removed
	TokenPerson    = "person"  // the identity headers would name another person, or none
	TokenAudience  = "audience"
	TokenScope     = "scope"
)

// TokenReasons returns all reasons for refusing a token.
func TokenReasons() []string {
	return []string{TokenMalformed, TokenSignature, TokenIssuer, TokenExpired, TokenRevoked, TokenPerson,
		TokenAudience, TokenScope}
}

// A TokenError has the reason why a token is refused, for the operator. The client
// that sent the token gets [ErrBadToken] or [ErrNoScope], which it wraps.
type TokenError struct {
	Reason   string
	Identity *Identity // of the token's person; nil: unknown
	refusal  *Error
}

func (e *TokenError) Error() string { return e.refusal.Error() }
func (e *TokenError) Unwrap() error { return e.refusal }

// BadToken returns a refusal of a token that wraps [ErrBadToken].
func BadToken(reason string, id *Identity) error {
	return &TokenError{Reason: reason, Identity: id, refusal: ErrBadToken}
}

// LacksScope returns a refusal, which wraps [ErrNoScope], of a token that is
// otherwise valid.
func LacksScope(id *Identity) error {
	return &TokenError{Reason: TokenScope, Identity: id, refusal: ErrNoScope}
}

// ValidateToken validates an access token. The token itself is verified once and then
// found by its digest in a cache. Whether its grant is active is checked every time,
// so that a revocation takes effect immediately. Refusals: invalid_token,
// insufficient_scope, as a [TokenError].
func (e *Engine) ValidateToken(ctx context.Context, token string, need Requirement) (*Identity, error) {
	known, g, err := e.activeGrant(ctx, token)
	if err != nil {
		return nil, err
	}
	audience := need.Audience
	if len(audience) == 0 {
		audience = e.cfg.Audience
	}
	if !SameAudience(known.Audience, audience) {
		return nil, BadToken(TokenAudience, e.identity(known, g))
	}
	if !need.Scope.Within(known.Scope) {
		return nil, LacksScope(e.identity(known, g))
	}
	return e.identity(known, g), nil
}

// activeGrant returns a verified access token, whatever its audience, and its grant,
// if both are valid. A token of a person who is not [Person.Clean] is refused: the
// person signed in with a version that did not check.
func (e *Engine) activeGrant(ctx context.Context, token string) (*verifiedToken, *Grant, error) {
	known, err := e.verified(token)
	if err != nil {
		return nil, nil, err
	}
	g, err := e.redeemed(ctx, known.Grant)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return nil, nil, err
	}
	switch {
	case err != nil, g.Person == nil: // the store was restored to a state before the approval
		return nil, nil, BadToken(TokenRevoked, nil)
	case !g.IsActive() || !e.hasClient(g.ClientID):
		return nil, nil, BadToken(TokenRevoked, e.identity(known, g))
	case !e.identity(known, g).clean:
		return nil, nil, BadToken(TokenPerson, nil)
	}
	return known, g, nil
}

// IsActive reports whether the grant of an [Identity] is active. It is for requests
// that a guard let through earlier, maybe with an older configuration, and that are
// still being served. A grant that has been deleted is not active.
func (e *Engine) IsActive(ctx context.Context, id ID) (bool, error) {
	g, err := e.cfg.Store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && g.IsActive() && e.hasClient(g.ClientID), err
}

// redeemed returns the grant of a token that this server issued. Because there is a
// token, the grant has been redeemed: if the store's Get returns an older state,
// redeemed reads the current one.
func (e *Engine) redeemed(ctx context.Context, id ID) (*Grant, error) {
	g, err := e.cfg.Store.Get(ctx, id)
	if err != nil || !g.Redeemed.IsZero() {
		return g, err
	}
	return e.latest(ctx, id)
}

// verified returns a token that is ours and has not expired. Most tokens are found in
// the cache by their digest; the others are verified by their signature.
func (e *Engine) verified(token string) (*verifiedToken, error) {
	var room [1536]byte // large enough for most tokens, so that the digest needs no allocation
	key, now := sha256.Sum256(append(room[:0], token...)), time.Now()
	known, found := e.tokenCache.Get(key)
	if !found {
		known = new(verifiedToken)
		err := e.cfg.Signer.Verify(TypeAccess, token, &known.AccessClaims)
		switch {
		case err != nil && strings.Count(token, ".") != 2: // RFC 7515 §7.1
			return nil, BadToken(TokenMalformed, nil)
		case err != nil:
			return nil, BadToken(TokenSignature, nil)
		case !known.complete():
			return nil, BadToken(TokenMalformed, nil)
		case known.Issuer != e.cfg.Issuer:
			return nil, BadToken(TokenIssuer, nil)
		}
		e.compact(&known.AccessClaims)
	}
	if now.Unix() >= known.Expires {
		return nil, BadToken(TokenExpired, nil)
	}
	if !found {
		known = e.tokenCache.Add(key, known)
	}
	return known, nil
}

// compact moves the strings of a token, which stays in the cache, into one object,
// and shares those that are in the configuration.
func (e *Engine) compact(c *AccessClaims) {
	c.Issuer = e.cfg.Issuer
	if slices.Equal(c.Audience, e.cfg.Audience) {
		c.Audience = e.cfg.Audience
	}
	var pool textPool
	pool.add(&c.Subject, &c.ClientID, (*string)(&c.Scope), &c.JWTID)
	pool.join()
}

// complete reports whether the claims have everything that decisions depend on.
func (c *AccessClaims) complete() bool {
	return c.Expires != 0 && c.Subject != "" && len(c.Audience) > 0 && c.Grant != ID{}
}

// A verifiedToken is a token that was verified, with the identity at its latest use.
type verifiedToken struct {
	AccessClaims
	last atomic.Pointer[tokenIdentity]
}

// tokenIdentity is the identity that backends see for a person of the store. It is
// one object instead of several because there may be tens of thousands of them.
type tokenIdentity struct {
	of     *Person // as in the store
	person Person  // as backends see the person
	id     Identity
}

// identity returns the identity of a token. It is built again only if the grant has
// another person than at the last use.
func (e *Engine) identity(a *verifiedToken, g *Grant) *Identity {
	if last := a.last.Load(); last != nil && last.of == g.Person {
		return &last.id
	}
	now := &tokenIdentity{of: g.Person, person: e.forBackends(g.Person)}
	now.id.set(&now.person, &a.AccessClaims)
	now.id.clean = now.id.clean && !e.mimics(g.Person)
	a.last.Store(now)
	return &now.id
}

// A tokenCache caches verified tokens, by digest, as long as they are used often. The
// result of a verification never changes; expiry and grant may, and are checked for
// every request.
type tokenCache = generations.Shared[[sha256.Size]byte, *verifiedToken]

// generationSize is the number of tokens in a generation of the cache, which has at
// most two generations. A token takes about 1,000 bytes.
const generationSize = 20_000

func newTokenCache() *tokenCache {
	return generations.NewShared[[sha256.Size]byte, *verifiedToken](generationSize)
}
