package deviceauth

import (
	"crypto/rand"
	"encoding/json"
	"time"
)

// Tokens are the contents of a token response (RFC 6749 §5.1, OpenID Connect Core
// §3.1.3.3).
type Tokens struct {
	AccessToken  Secret
	ExpiresIn    time.Duration
	Scope        Scope
	RefreshToken Secret // with offline_access
	IDToken      Secret // with openid

	// RefreshExpiresIn is the lifetime of the refresh token if it is not used
	// (draft-ietf-oauth-refresh-token-expiration); 0: there is no refresh token.
	RefreshExpiresIn time.Duration

	until   time.Time // expiry of the access token
	terms   Terms     // of the access token
	refresh *Refresh  // what the grant stores of the refresh token
}

// first creates the tokens of a redemption.
func (e *Engine) first(g *Grant, terms Terms, now time.Time, nulls bool) (*Tokens, error) {
	t, err := e.issue(g, terms, now, nulls)
	if err != nil || !terms.Scope.Has(ScopeOfflineAccess) {
		return t, err
	}
	token, until := newSplitToken(g.ID), now.Add(e.cfg.Lifetime.RefreshToken)
	t.RefreshToken = e.refreshKey().refreshToken(token)
	t.refresh = &Refresh{
		Current: token.digest(), Rotated: now, Idle: earlier(now.Add(e.cfg.Lifetime.RefreshIdle), until), Until: until,
	}
	t.RefreshExpiresIn = t.refresh.Idle.Sub(now)
	return t, nil
}

// issue creates an access token, and an ID token if the scope has openid.
func (e *Engine) issue(g *Grant, terms Terms, now time.Time, nulls bool) (*Tokens, error) {
	scope, until := terms.Scope, now.Add(e.cfg.Lifetime.AccessToken)
	access, err := e.cfg.Signer.Sign(TypeAccess, AccessClaims{
		Issuer: e.cfg.Issuer, Audience: terms.Audience, Subject: g.Person.Subject, ClientID: g.ClientID, Scope: scope,
		IssuedAt: now.Unix(), Expires: until.Unix(), JWTID: rand.Text(), Grant: g.ID,
		AuthTime: seconds(g.Person.AuthTime),
	})
	if err != nil {
		return nil, err
	}
	t := &Tokens{AccessToken: Secret(access), ExpiresIn: e.cfg.Lifetime.AccessToken, Scope: scope,
		until: until, terms: terms}
	if scope.Has(ScopeOpenID) {
		claims := e.idClaims(g, scope, now, until)
		if nulls {
			addNulls(claims, scope)
		}
		id, err := e.signID(g.ClientID, claims, nulls)
		if err != nil {
			return nil, err
		}
		t.IDToken = Secret(id)
	}
	return t, nil
}

// claimsOf lists the claims that each scope gives access to (OpenID Connect Core
// §5.4). groups is not a standard scope, but in common use.
var claimsOf = map[string][]string{
	ScopeProfile: {"name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile",
		"picture", "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at"},
	ScopeEmail:  {"email", "email_verified"},
	ScopeGroups: {"groups"},
}

// UserClaims returns sub and the person's claims that a scope gives access to.
func UserClaims(p *Person, scope Scope) Claims {
	claims := Claims{"sub": p.Subject}
	for s, names := range claimsOf {
		for _, name := range names {
			if v, ok := p.Claims[name]; ok && scope.Has(s) {
				claims[name] = v
			}
		}
	}
	return claims
}

// addNulls adds unknown claims as null, for devices that fail if a member is missing,
// and the scope, which these devices expect in the ID token.
func addNulls(claims Claims, scope Scope) {
	claims["scope"] = scope
	for s, names := range claimsOf {
		for _, name := range names {
			if _, known := claims[name]; !known && scope.Has(s) {
				claims[name] = nil
			}
		}
	}
}

// signID signs an ID token with the algorithm that its client requires. Devices that
// need nulls decode it with browser code that does not support base64url, see
// [plainJSON].
func (e *Engine) signID(client string, claims Claims, nulls bool) (string, error) {
	algorithm := ""
	if c := e.client(client); c != nil {
		algorithm = c.IDToken
	}
	if nulls {
		return e.cfg.Signer.SignID(algorithm, plainJSON(claims))
	}
	return e.cfg.Signer.SignID(algorithm, claims)
}

func (e *Engine) idClaims(g *Grant, scope Scope, now, until time.Time) Claims {
	claims := UserClaims(g.Person, scope)
	claims["iss"], claims["aud"] = e.cfg.Issuer, g.ClientID
	claims["iat"], claims["exp"] = now.Unix(), until.Unix()
	claims["sid"] = g.ID
	if at := seconds(g.Person.AuthTime); at != 0 {
		claims["auth_time"] = at
	}
	if g.Nonce != "" {
		claims["nonce"] = g.Nonce
	}
	return claims
}

// An audience is encoded in JSON as a string or a list of strings (RFC 7519 §4.1.3).
type audience []string

func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

func (a *audience) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(a))
}
