package caddymodule

import (
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// parseUpstream parses `upstream <id> <issuer> { … }`. The id is the prefix of the
// subjects of all people who sign in there, so two upstreams must not have the same.
func (a *App) parseUpstream(d *caddyfile.Dispenser) error {
	args, err := arguments(d, 2, 2, "an id and the issuer URL of an OpenID provider")
	if err != nil {
		return err
	}
	u := Upstream{ID: args[0], Issuer: args[1]}
	// JSON users get the same error from the engine's configuration.
	for _, other := range a.Upstreams {
		if other.ID == u.ID {
			return d.Errf("duplicate upstream %s", u.ID)
		}
	}
	if err := u.checkSoFar(); err != nil {
		return d.WrapErr(err)
	}
	// A check after each line reports a mistake at its line, for example in a claim
	// pattern.
	err = block{what: "upstream " + u.ID, check: u.checkSoFar, words: map[string]lineReader{
		"name":          oneArg(&u.Name),
		"client_id":     oneArg(&u.ClientID),
		"client_secret": secretText(&u.ClientSecret),
		"scopes":        list(&u.Scopes),
		"allow":         parseAllow(&u.Allow),
		"user":          oneArg(&u.User),
		"claims":        list(&u.Claims),
		"revalidate":    set(&u.Revalidate),
		"authorize":     parseParameter(&u.Authorize),
		"ca":            oneArg(&u.CA),
	}, many: []string{"allow", "claims", "authorize"}}.read(d)
	a.Upstreams = append(a.Upstreams, u)
	return err
}

// parseParameter parses `authorize <name> <value>`: an additional parameter of the
// authorization request to the upstream (RFC 6749 §4.1.1).
func parseParameter(to *[]upstreamidp.Parameter) lineReader {
	return func(d *caddyfile.Dispenser) error {
		args, err := arguments(d, 2, 2, "the name of a parameter and its value, such as: authorize access_type offline")
		if err != nil {
			return err
		}
		*to = append(*to, upstreamidp.Parameter{Name: args[0], Value: args[1]})
		return nil
	}
}

// parseAllow parses `allow <claim> <pattern>...`. Each line is one rule; a person who
// satisfies any of the rules may approve.
func parseAllow(to *[]deviceauth.Allow) lineReader {
	return func(d *caddyfile.Dispenser) error {
		args, err := arguments(d, 2, math.MaxInt, "a claim and one or more patterns")
		if err != nil {
			return err
		}
		*to = append(*to, deviceauth.Allow{Claim: args[0], Patterns: args[1:]})
		return nil
	}
}

// parseClient parses `client <id> { … }`. Without a secret it is a public client (RFC
// 6749 §2.1), as most devices are.
func (a *App) parseClient(d *caddyfile.Dispenser) error {
	var c Client
	if err := oneArg(&c.ID)(d); err != nil {
		return err
	}
	// Clients are looked up by client_id, so two clients cannot share one.
	for _, other := range a.Clients {
		if other.ID == c.ID {
			return d.Errf("duplicate client %s", c.ID)
		}
	}
	if err := c.checkSoFar(); err != nil {
		return d.WrapErr(err)
	}
	// A client can only have its own lifetime of codes; all other lifetimes are those
	// of the server.
	lifetime := block{what: "lifetime", check: c.checkSoFar, words: map[string]lineReader{
		"device_code": duration(&c.DeviceCode),
	}}
	// Words in many add to their lists; every other word may be used once.
	err := block{what: "client " + c.ID, check: c.checkSoFar, words: map[string]lineReader{
		"name":   oneArg(&c.Name),
		"maker":  oneArg(&c.Maker),
		"logo":   a.parseLogo("client "+c.ID+": logo", &c.Logo),
		"secret": secretText(&c.Secret),
		"scopes": list(&c.Scopes),
		"origin": list(&c.Origins),
		"from":   list(&c.From),

		"redirect":  list(&c.Redirects),
		"allow":     parseAllow(&c.Allow),
		"network":   network(&c.Network),
		"lifetime":  lifetime.lineOrBlock,
		"prefilled": word("off", &c.Typed),
		"id_token":  oneOf(&c.IDToken, "RS256"),
		"sign_in":   word("fresh", &c.Fresh),
		"notify":    set(&c.Notify),
		"guard":     set(&c.Guard),
	}, many: []string{"origin", "from", "allow", "redirect"}}.read(d)
	a.Clients = append(a.Clients, c)
	return err
}

// parseLogo parses `logo <url>`. Which URLs browsers accept depends on the issuer's
// scheme, so that check is deferred to the end of the block.
func (a *App) parseLogo(what string, to *string) lineReader {
	return func(d *caddyfile.Dispenser) error {
		if err := oneArg(to)(d); err != nil {
			return err
		}
		logo := *to
		a.deferCheck(d, func() error { return checkLogo(what, logo, a.Issuer) })
		return nil
	}
}

// network parses the policy for approvals from another network than the device's:
// off, warn or require.
func network(to *deviceauth.Network) lineReader {
	return oneOf(to, deviceauth.NetworkOff, deviceauth.NetworkWarn, deviceauth.NetworkRequire)
}
