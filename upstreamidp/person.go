package upstreamidp

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// An identity is a person and the way in which the provider sent the claims.
type identity struct {
	*deviceauth.Person
	filled    []string // the claims from userinfo
	elsewhere []string // the claims that the provider has but did not send
	large     []string // the claims that are too large to store
}

// person returns the person of a verified ID token.
func (p *Provider) person(ctx context.Context, d *discovered, id *oidc.IDToken,
	token *oauth2.Token) (*identity, error) {
	given := deviceauth.Claims{}
	if err := id.Claims(&given); err != nil {
		return nil, invalidToken(err.Error())
	}
	p.resolveNested(given)
	filled, asked := p.addUserinfo(ctx, d, token, given)
	found := &identity{filled: filled, elsewhere: p.omittedClaims(given)}
	claims, large := p.limitClaims(given)
	session := given.String("sid")
	if len(session) > maxText { // then a back-channel logout must name the person
		session, large = "", append(large, "sid")
	}
	found.large = large
	found.Person = &deviceauth.Person{
		Subject: p.subject(id.Subject), Upstream: p.cfg.ID, Claims: claims,
		AuthTime: authTime(given), Session: session, Withheld: slices.Concat(found.elsewhere, large),
	}
	var err error
	if found.User, err = p.user(claims); err == nil && !text.IsClean(id.Subject) {
		err = unclean("sub")
	}
	if asked != nil && (err != nil || p.lacksRules(claims)) {
		return nil, asked // userinfo might have had the claim
	}
	return found, err
}

// logLacking logs which claims a person lacks, once for each sign-in.
func (p *Provider) logLacking(found *identity) {
	log := p.cfg.Log.With("upstream", p.cfg.ID, "subject", found.Subject)
	if len(found.elsewhere) > 0 {
		log.Warn("the upstream left claims of a person out of the token, so that no rule can decide by them; "+
			"have it send fewer values, such as only the groups that are assigned to this client", "claims",
			found.elsewhere)
	}
	if len(found.large) > 0 {
		log.Warn("claims of a person are too large to keep and are left out: 2 KiB is the most for a text, "+
			"16 KiB for a list, 64 KiB for all of them", "claims", found.large)
	}
}

// subject returns the subject for a sub of the provider.
func (p *Provider) subject(sub string) string { return p.cfg.ID + "|" + sub }

// lacksRules reports whether a claim is missing that rules need: a person must not be
// refused because userinfo was unavailable.
func (p *Provider) lacksRules(claims deviceauth.Claims) bool {
	return slices.ContainsFunc(p.cfg.RuleClaims, func(name string) bool {
		return claims[name] == nil || name == "email" && claims["email_verified"] == nil
	})
}

// user returns the user name, which backends trust. It is used unchanged or not at
// all, and an e-mail address must be verified if the provider has that claim.
func (p *Provider) user(claims deviceauth.Claims) (string, error) {
	claim := p.cfg.UserClaim
	if claim == "" {
		claim = "sub"
	}
	user := claims.String(claim)
	_, present := claims["email_verified"]
	switch {
	case user == "":
		return "", deviceauth.NewError("sign_in_nameless", readable(claim))
	case !text.IsClean(user):
		return "", unclean(claim)
	case claim == "email" && present && !claims.Bool("email_verified"):
		return "", deviceauth.NewError("sign_in_unverified", "email_verified is not true")
	}
	return user, nil
}

// unclean returns the error for a person whose name could become another's if it were
// repaired.
func unclean(claim string) error { return deviceauth.NewError("sign_in_unclean", readable(claim)) }

// lastSecond is the end of the year 9999: JSON cannot encode later times.
const lastSecond = 253402300799

// authTime returns auth_time. Providers send seconds as a JSON number, some with a
// fraction (OpenID Connect Core §2). For an invalid value it returns the zero time,
// which proves nothing.
func authTime(claims deviceauth.Claims) time.Time {
	number, _ := claims["auth_time"].(json.Number)
	if at, err := number.Float64(); err == nil && at > 0 && at <= lastSecond {
		return time.Unix(int64(at), 0).UTC()
	}
	return time.Time{}
}
