package upstreamidp

import (
	"context"
	"slices"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// protocolClaims say something about a token, not about a person. The last two
// point to claims elsewhere, sometimes with a token to fetch them (OpenID
// Connect Core §5.6.2), which must not be handed on.
var protocolClaims = []string{
	"iss", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash", "azp", "jti", "sid", "auth_time",
	"_claim_names", "_claim_sources",
}

// person makes a person of an ID token that has been checked. filled are the
// claims that are userinfo's.
func (p *Provider) person(ctx context.Context, d *discovered, id *oidc.IDToken, token *oauth2.Token) (person *deviceauth.Person, filled []string, err error) {
	claims := deviceauth.Claims{}
	if err := id.Claims(&claims); err != nil {
		return nil, nil, distrust(err.Error())
	}
	filled, asked := p.addUserinfo(ctx, d, token, claims)
	person = &deviceauth.Person{
		Subject: p.subject(id.Subject), Upstream: p.cfg.ID, Claims: claims, AuthTime: authTime(claims), Session: claims.String("sid"),
	}
	for _, name := range protocolClaims {
		delete(claims, name)
	}
	if person.User, err = p.user(claims); err == nil && !deviceauth.Clean(id.Subject) {
		err = unclean("sub")
	}
	if asked != nil && (err != nil || p.lacksRules(claims)) {
		return nil, nil, asked // userinfo might have said it
	}
	return person, filled, err
}

// subject prefixes the provider's own name for a person.
func (p *Provider) subject(sub string) string { return p.cfg.ID + "|" + sub }

// lacksRules reports whether a claim is missing that decides on who may
// approve: a person must not be turned away because userinfo was down.
func (p *Provider) lacksRules(claims deviceauth.Claims) bool {
	return slices.ContainsFunc(p.cfg.Claims, func(name string) bool {
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
	_, told := claims["email_verified"]
	switch {
	case user == "":
		return "", deviceauth.Refuse("sign_in_nameless", readable(claim))
	case !deviceauth.Clean(user):
		return "", unclean(claim)
	case claim == "email" && told && !claims.Bool("email_verified"):
		return "", deviceauth.Refuse("sign_in_unverified", "email_verified is not true")
	}
	return user, nil
}

// unclean refuses a person whose name would be another's if it were repaired.
func unclean(claim string) error { return deviceauth.Refuse("sign_in_unclean", readable(claim)) }

// lastSecond of the year 9999: later times are no dates to JSON.
const lastSecond = 253402300799

func authTime(claims deviceauth.Claims) time.Time {
	if at, ok := claims["auth_time"].(float64); ok && at > 0 && at <= lastSecond {
		return time.Unix(int64(at), 0).UTC()
	}
	return time.Time{}
}
