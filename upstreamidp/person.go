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

// An identity is a person and how the provider told of them.
type identity struct {
	*deviceauth.Person
	filled    []string // the claims that are userinfo's
	elsewhere []string // those that the provider knows and did not send
	large     []string // those that were too large to keep
}

// person makes a person of an ID token that has been checked.
func (p *Provider) person(ctx context.Context, d *discovered, id *oidc.IDToken,
	token *oauth2.Token) (*identity, error) {
	given := deviceauth.Claims{}
	if err := id.Claims(&given); err != nil {
		return nil, distrust(err.Error())
	}
	p.reach(given)
	filled, asked := p.addUserinfo(ctx, d, token, given)
	found := &identity{filled: filled, elsewhere: p.elsewhere(given)}
	claims, large := p.bound(given)
	session := given.String("sid")
	if len(session) > maxText { // a back-channel logout has to name the person then
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
		return nil, asked // userinfo might have said it
	}
	return found, err
}

// logLacking writes to the log what a person's claims lack, once for each sign-in.
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

// subject prefixes the provider's own name for a person.
func (p *Provider) subject(sub string) string { return p.cfg.ID + "|" + sub }

// lacksRules reports whether a claim is missing that decides on who may
// approve: a person must not be turned away because userinfo was down.
func (p *Provider) lacksRules(claims deviceauth.Claims) bool {
	return slices.ContainsFunc(p.cfg.RuleClaims, func(name string) bool {
		return claims[name] == nil || name == "email" && claims["email_verified"] == nil
	})
}

// user is the name that backends trust, so it is taken exactly as it is or not
// at all, and an e-mail address must be the person's own where the provider
// knows that.
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

// unclean refuses a person whose name would be another's if it were repaired.
func unclean(claim string) error { return deviceauth.NewError("sign_in_unclean", readable(claim)) }

// lastSecond of the year 9999: later times are no dates to JSON.
const lastSecond = 253402300799

// authTime reads auth_time. Providers send seconds as a JSON number, some with
// a fraction (OpenID Connect Core §2). A value that is no date is the zero
// time, which proves nothing.
func authTime(claims deviceauth.Claims) time.Time {
	number, _ := claims["auth_time"].(json.Number)
	if at, err := number.Float64(); err == nil && at > 0 && at <= lastSecond {
		return time.Unix(int64(at), 0).UTC()
	}
	return time.Time{}
}
