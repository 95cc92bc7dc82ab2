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

// A Requirement is what a guard asks of a token.
type Requirement struct {
	Audience []string // any of these; none: any of the server's
	Scope    Scope    // all of these
}

// What a guard answers (RFC 6750 §3.1), in the process of its server or in another one.
var (
	ErrBadToken = NewError("invalid_token", "the access token is malformed, expired, revoked or for another audience")
	ErrNoScope  = NewError("insufficient_scope", "the access token lacks a scope that this resource needs")
)

// Why a token is refused, for the operator's log. The client that sent it learns none of them.
const (
	TokenMalformed = "malformed" // it is no access token, or lacks a claim
	TokenSignature = "signature" // no key of the server's signed it as an access token
	TokenIssuer    = "issuer"    // the server signed it under another issuer URL
	TokenExpired   = "expired"
	TokenRevoked   = "revoked" // its grant is over, or its client is gone
	TokenPerson    = "person"  // the identity headers would name another person, or none
	TokenAudience  = "audience"
	TokenScope     = "scope"
)

// TokenReasons are all of them.
func TokenReasons() []string {
	return []string{TokenMalformed, TokenSignature, TokenIssuer, TokenExpired, TokenRevoked, TokenPerson,
		TokenAudience, TokenScope}
}

// A TokenError says to the operator why a token is refused. To whoever sent it
// there are [ErrBadToken] and [ErrNoScope], one of which it wraps.
type TokenError struct {
	Reason   string
	Identity *Identity // whose token it is; nil: unknown
	refusal  *Error
}

func (e *TokenError) Error() string { return e.refusal.Error() }
func (e *TokenError) Unwrap() error { return e.refusal }

// BadToken refuses a token with [ErrBadToken].
func BadToken(reason string, id *Identity) error {
	return &TokenError{Reason: reason, Identity: id, refusal: ErrBadToken}
}

// LacksScope refuses a token that is good otherwise with [ErrNoScope].
func LacksScope(id *Identity) error {
	return &TokenError{Reason: TokenScope, Identity: id, refusal: ErrNoScope}
}

// ValidateToken checks an access token. The token itself is verified once and then
// known by its digest; whether its grant lives is asked every time, so that a
// revocation waits for no cache. Refusals: invalid_token, insufficient_scope, as
// a [TokenError].
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

// activeGrant returns an access token of ours, whatever its audience, and its
// grant, if both are good. One of a person who is not [Person.Clean], and signed
// in before that was looked at, is not.
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
	case err != nil, g.Person == nil: // the store is as it was some time ago, when no person had allowed it
		return nil, nil, BadToken(TokenRevoked, nil)
	case !g.IsActive() || !e.hasClient(g.ClientID):
		return nil, nil, BadToken(TokenRevoked, e.identity(known, g))
	case !e.identity(known, g).clean:
		return nil, nil, BadToken(TokenPerson, nil)
	}
	return known, g, nil
}

// IsActive reports whether the grant behind an [Identity] lives, for what some
// guard let through, maybe one of a configuration before, and what goes on
// since. A grant that is over and forgotten does not.
func (e *Engine) IsActive(ctx context.Context, id ID) (bool, error) {
	g, err := e.cfg.Store.Get(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil && g.IsActive() && e.hasClient(g.ClientID), err
}

// redeemed returns the grant of a token of ours. Since there is one, the grant
// was redeemed: where the store does not know that yet, it is asked again in
// the way that is never behind.
func (e *Engine) redeemed(ctx context.Context, id ID) (*Grant, error) {
	g, err := e.cfg.Store.Get(ctx, id)
	if err != nil || !g.Redeemed.IsZero() {
		return g, err
	}
	return e.latest(ctx, id)
}

// verified returns a token that is ours and in time. Most of them are known by their
// digest.
func (e *Engine) verified(token string) (known *verifiedToken, err error) {
	var room [1536]byte // most tokens fit, and need no memory of their own to be digested
	key, now := sha256.Sum256(append(room[:0], token...)), time.Now()
	known, found := e.tokenCache.Get(key)
	if !found {
		if known, err = e.verify(token); err != nil {
			return nil, err
		}
	}
	if now.Unix() >= known.Expires {
		return nil, BadToken(TokenExpired, nil)
	}
	if !found {
		known = e.tokenCache.Add(key, known)
	}
	return known, nil
}

// verify reads a token that is not known yet.
func (e *Engine) verify(token string) (*verifiedToken, error) {
	read := new(verifiedToken)
	err := e.cfg.Signer.Verify(TypeAccess, token, &read.AccessClaims)
	switch {
	case err != nil && strings.Count(token, ".") != 2: // RFC 7515 §7.1
		return nil, BadToken(TokenMalformed, nil)
	case err != nil:
		return nil, BadToken(TokenSignature, nil)
	case !read.complete():
		return nil, BadToken(TokenMalformed, nil)
	case read.Issuer != e.cfg.Issuer:
		return nil, BadToken(TokenIssuer, nil)
	}
	e.compact(&read.AccessClaims)
	return read, nil
}

// compact has the texts of a token, which stays in memory, lie in one object, and those of the
// configuration be there once.
func (e *Engine) compact(c *AccessClaims) {
	c.Issuer = e.cfg.Issuer
	if slices.Equal(c.Audience, e.cfg.Audience) {
		c.Audience = e.cfg.Audience
	}
	var pool textPool
	pool.add(&c.Subject, &c.ClientID, (*string)(&c.Scope), &c.JWTID)
	pool.join()
}

// complete reports whether nothing is missing that a decision rests on.
func (c *AccessClaims) complete() bool {
	return c.Expires != 0 && c.Subject != "" && len(c.Audience) > 0 && c.Grant != ID{}
}

// A verifiedToken is a token that was verified, and whose it was when it was last used.
type verifiedToken struct {
	AccessClaims
	last atomic.Pointer[tokenIdentity]
}

// tokenIdentity is who a person of the store is to backends. With 10,000 devices each object
// less is felt.
type tokenIdentity struct {
	of     *Person // of the store
	person Person  // as backends see them
	id     Identity
}

// identity returns who stands behind the token, made once for as long as the
// grant has the same person.
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

// A tokenCache remembers tokens that were verified by their digests, as long as they come
// often. A token verified is a fact for ever; only its time and its grant are not, and
// those are looked at on every request.
type tokenCache = generations.Shared[[sha256.Size]byte, *verifiedToken]

// generation bounds the memory: two times so many tokens of some 1,000 bytes.
const generation = 20_000

func newTokenCache() *tokenCache {
	return generations.NewShared[[sha256.Size]byte, *verifiedToken](generation)
}
