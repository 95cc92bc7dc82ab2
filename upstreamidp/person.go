package upstreamidp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// protocolClaims say something about a token, not about a person.
var protocolClaims = []string{"iss", "aud", "exp", "iat", "nbf", "nonce", "at_hash", "c_hash", "s_hash", "azp", "jti", "sid", "auth_time"}

// wanted are the claims for which userinfo is asked where the ID token lacks
// them: many providers put them only there.
var wanted = []string{"name", "email", "email_verified", "picture", "preferred_username", "groups"}

// person makes a person of an ID token that has been checked.
func (p *Provider) person(ctx context.Context, d *discovered, id *oidc.IDToken, token *oauth2.Token) (*deviceauth.Person, error) {
	claims := deviceauth.Claims{}
	if err := id.Claims(&claims); err != nil {
		return nil, distrust(err)
	}
	person := &deviceauth.Person{Subject: p.cfg.ID + "|" + id.Subject, Upstream: p.cfg.ID, AuthTime: authTime(claims)}
	missingErr := error(nil)
	if d.hasPeople && p.lacks(claims) {
		missingErr = p.addUserinfo(ctx, d, id.Subject, token, claims)
	}
	for _, name := range protocolClaims {
		delete(claims, name)
	}
	person.Claims, person.User = claims, id.Subject
	if p.cfg.UserClaim != "" {
		person.User = strings.Map(visible, claims.String(p.cfg.UserClaim))
	}
	switch {
	case person.User == "" && missingErr != nil:
		return nil, missingErr
	case person.User == "":
		return nil, refuse("The identity provider does not say who you are: it sent no claim " + readable(p.cfg.UserClaim) + ".")
	}
	return person, nil
}

func (p *Provider) lacks(claims deviceauth.Claims) bool {
	for _, name := range append([]string{p.cfg.UserClaim}, wanted...) {
		if _, ok := claims[name]; name != "" && !ok {
			return true
		}
	}
	return false
}

// addUserinfo fills in what the ID token lacks. A userinfo answer about
// somebody else must not be used (OpenID Connect Core §5.3.2).
func (p *Provider) addUserinfo(ctx context.Context, d *discovered, subject string, token *oauth2.Token, claims deviceauth.Claims) error {
	info, err := d.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return fmt.Errorf("asking for userinfo: %w", err)
	}
	if info.Subject != subject {
		return errors.New("userinfo is about somebody else")
	}
	more := deviceauth.Claims{}
	if err := info.Claims(&more); err != nil {
		return fmt.Errorf("reading userinfo: %w", err)
	}
	maps.Copy(more, claims) // what was signed wins
	maps.Copy(claims, more)
	return nil
}

func authTime(claims deviceauth.Claims) time.Time {
	if at, ok := claims["auth_time"].(float64); ok && at > 0 {
		return time.Unix(int64(at), 0).UTC()
	}
	return time.Time{}
}

func visible(r rune) rune {
	if unicode.IsControl(r) {
		return -1
	}
	return r
}
