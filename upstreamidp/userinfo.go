package upstreamidp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// userinfoDefaults are the claims that are requested from userinfo if the ID token lacks
// them, since many providers have them only there. email must precede email_verified, which
// depends on it.
var userinfoDefaults = []string{"name", "email", "email_verified", "picture", "preferred_username", "groups"}

// addUserinfo adds claims that the ID token lacks (OpenID Connect Core §5.3), and
// returns their names. It does not replace signed claims. An error means that the
// provider could not be asked. It sends no request if the ID token has all claims.
func (p *Provider) addUserinfo(ctx context.Context, d *discovered, token *oauth2.Token,
	claims deviceauth.Claims) (filled []string, err error) {
	missing := p.missing(claims)
	if len(missing) == 0 {
		return nil, nil
	}
	info, err := p.askUserinfo(ctx, d, token, claims.String("sub"))
	if err != nil {
		return nil, err
	}
	for _, name := range missing {
		if value := info[name]; value != nil &&
			(name != "email_verified" || info.String("email") == claims.String("email")) {
			claims[name] = value
			filled = append(filled, name)
		}
	}
	return filled, nil
}

// askUserinfo returns the claims from userinfo, or nil if there is no such endpoint
// or the response is about another person, which must not be used (OpenID Connect
// Core §5.3.2).
func (p *Provider) askUserinfo(ctx context.Context, d *discovered, token *oauth2.Token,
	sub string) (info deviceauth.Claims, err error) {
	if d.UserInfoEndpoint() == "" {
		return nil, nil
	}
	answer, err := d.UserInfo(ctx, oauth2.StaticTokenSource(token))
	if err != nil {
		return nil, fmt.Errorf("asking for userinfo: %w", err)
	}
	if answer.Subject != sub {
		return nil, nil
	}
	if err := answer.Claims(&info); err != nil {
		return nil, fmt.Errorf("reading userinfo: %w", err)
	}
	p.resolveNested(info)
	return info, nil
}

// fromUserinfo returns the person with the current claims from userinfo, for a
// refresh without an ID token. Claims that came from userinfo and are now missing
// there are removed; those from an ID token are kept. It also returns which claims
// came from userinfo now.
func (p *Provider) fromUserinfo(
	ctx context.Context, d *discovered, token *oauth2.Token, person *deviceauth.Person, filled []string,
) (*deviceauth.Person, []string, error) {
	now := *person
	info, err := p.askUserinfo(ctx, d, token, strings.TrimPrefix(person.Subject, p.subject("")))
	if err != nil {
		return nil, nil, err
	}
	if info != nil {
		claims, present := p.overlay(person, info, filled)
		filled = present
		var large []string
		now.Claims, large = p.limitClaims(claims)
		known := func(name string) bool { return now.Claims[name] != nil || slices.Contains(large, name) }
		now.Withheld = append(slices.DeleteFunc(slices.Clone(person.Withheld), known), large...)
	}
	now.User, err = p.user(now.Claims)
	return &now, filled, err
}

// overlay returns a person's claims with the current ones from userinfo, and the
// names of the latter.
func (p *Provider) overlay(
	person *deviceauth.Person, info deviceauth.Claims, filled []string,
) (claims deviceauth.Claims, present []string) {
	claims = maps.Clone(person.Claims)
	for _, name := range p.userinfoClaims() {
		switch value := info[name]; {
		case value != nil:
			claims[name] = value
			present = append(present, name)
		case slices.Contains(filled, name), name == "email_verified" &&
			claims.String("email") != person.Claims.String("email"):
			delete(claims, name)
		}
	}
	return claims, present
}

// userinfoClaims returns the claims that are requested from userinfo. One of them,
// the claim of the user name, may be empty.
func (p *Provider) userinfoClaims() []string {
	return slices.Concat(userinfoDefaults, p.cfg.RuleClaims, p.cfg.BackendClaims, []string{p.cfg.UserClaim})
}

// missing returns the claims to request. email_verified is only used together with
// the e-mail address that it is about.
func (p *Provider) missing(claims deviceauth.Claims) (names []string) {
	for _, name := range p.userinfoClaims() {
		if value := claims[name]; name != "" && (value == nil || value == "") {
			names = append(names, name)
		}
	}
	return names
}
