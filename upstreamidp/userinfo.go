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

// wanted are the claims for which userinfo is asked where the ID token lacks
// them: many providers put them only there. email stands before
// email_verified, which depends on it.
var wanted = []string{"name", "email", "email_verified", "picture", "preferred_username", "groups"}

// addUserinfo fills in what the ID token lacks (OpenID Connect Core §5.3), and
// says what that was. What was signed stays. An error means that the provider
// could not be asked. It makes no request where the ID token has everything
// that is looked for.
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

// askUserinfo returns nothing where there is no userinfo, or it is about
// somebody else: that must not be used (OpenID Connect Core §5.3.2).
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
	p.reach(info)
	return info, nil
}

// anew returns a person as userinfo says now that they are, where there is no
// ID token beside it. What userinfo said before and does not say any more is
// gone; what only an ID token said stays. It returns also which claims are
// userinfo's now, for the next time.
func (p *Provider) anew(
	ctx context.Context, d *discovered, token *oauth2.Token, person *deviceauth.Person, filled []string,
) (*deviceauth.Person, []string, error) {
	now := *person
	info, err := p.askUserinfo(ctx, d, token, strings.TrimPrefix(person.Subject, p.subject("")))
	if err != nil {
		return nil, nil, err
	}
	if info != nil {
		claims, present := p.overlaid(person, info, filled)
		filled = present
		var large []string
		now.Claims, large = p.bound(claims)
		known := func(name string) bool { return now.Claims[name] != nil || slices.Contains(large, name) }
		now.Withheld = append(slices.DeleteFunc(slices.Clone(person.Withheld), known), large...)
	}
	now.User, err = p.user(now.Claims)
	return &now, filled, err
}

// overlaid is a person's claims with what userinfo says now, and what that was.
func (p *Provider) overlaid(
	person *deviceauth.Person, info deviceauth.Claims, filled []string,
) (claims deviceauth.Claims, present []string) {
	claims = maps.Clone(person.Claims)
	for _, name := range p.lookedFor() {
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

// lookedFor are the claims for which userinfo is asked. It also contains the
// claim of the user name, which may be empty.
func (p *Provider) lookedFor() []string {
	return slices.Concat(wanted, p.cfg.RuleClaims, p.cfg.BackendClaims, []string{p.cfg.UserClaim})
}

// missing lists the claims to ask for. To be verified is a property of one
// address, so email_verified is taken only with the address it is about.
func (p *Provider) missing(claims deviceauth.Claims) (names []string) {
	for _, name := range p.lookedFor() {
		if value := claims[name]; name != "" && (value == nil || value == "") {
			names = append(names, name)
		}
	}
	return names
}
