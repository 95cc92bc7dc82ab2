package caddymodule

import (
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/block"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// parseUpstream parses `upstream <id> <issuer> { … }`. The id is the prefix of the
// subjects of all people who sign in there, so two upstreams must not have the same.
func (a *App) parseUpstream(d *caddyfile.Dispenser) error {
	args, err := block.Arguments(d, 2, 2, "an id and the issuer URL of an OpenID provider")
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
	table := block.Block{What: "upstream " + u.ID, Check: u.checkSoFar, Words: block.Words{
		"name":          &u.Name,
		"client_id":     &u.ClientID,
		"client_secret": block.Secret(&u.ClientSecret, errEmptySecret),
		"scopes":        &u.Scopes,
		"allow":         parseAllow(&u.Allow),
		"user":          &u.User,
		"claims":        &u.Claims,
		"revalidate":    &u.Revalidate,
		"authorize":     parseParameter(&u.Authorize),
		"ca":            &u.CA,
	}, Many: []string{"allow", "claims", "authorize"}}
	err = table.Read(d)
	a.Upstreams = append(a.Upstreams, u)
	return err
}

// parseParameter parses `authorize <name> <value>`: an additional parameter of the
// authorization request to the upstream (RFC 6749 §4.1.1).
func parseParameter(to *[]upstreamidp.Parameter) block.Reader {
	return func(d *caddyfile.Dispenser) error {
		args, err := block.Arguments(d, 2, 2,
			"the name of a parameter and its value, such as: authorize access_type offline")
		if err != nil {
			return err
		}
		*to = append(*to, upstreamidp.Parameter{Name: args[0], Value: args[1]})
		return nil
	}
}

// parseAllow parses `allow <claim> <pattern>...`. Each line is one rule; a person who
// satisfies any of the rules may approve.
func parseAllow(to *[]deviceauth.Allow) block.Reader {
	return func(d *caddyfile.Dispenser) error {
		args, err := block.Arguments(d, 2, math.MaxInt, "a claim and one or more patterns")
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
	if err := block.Field(d, &c.ID); err != nil {
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
	lifetime := &block.Block{What: "lifetime", Check: c.checkSoFar, Words: block.Words{
		"device_code": &c.DeviceCode,
	}}
	// Words in many add to their lists; every other word may be used once.
	table := block.Block{What: "client " + c.ID, Check: c.checkSoFar, Words: block.Words{
		"name":   &c.Name,
		"maker":  &c.Maker,
		"logo":   a.parseLogo("client "+c.ID+": logo", &c.Logo),
		"secret": block.Secret(&c.Secret, errEmptySecret),
		"scopes": &c.Scopes,
		"origin": &c.Origins,
		"from":   &c.From,

		"redirect":  &c.Redirects,
		"allow":     parseAllow(&c.Allow),
		"network":   network(&c.Network),
		"lifetime":  lifetime.LineOrBlock,
		"prefilled": block.Word("off", &c.Typed),
		"id_token":  block.OneOf(&c.IDToken, "RS256"),
		"sign_in":   block.Word("fresh", &c.Fresh),
		"notify":    &c.Notify,
		"guard":     &c.Guard,
	}, Many: []string{"origin", "from", "allow", "redirect"}}
	err := table.Read(d)
	a.Clients = append(a.Clients, c)
	return err
}

// parseLogo parses `logo <url>`. Which URLs browsers accept depends on the issuer's
// scheme, so that check is deferred to the end of the block.
func (a *App) parseLogo(what string, to *string) block.Reader {
	return func(d *caddyfile.Dispenser) error {
		if err := block.Field(d, to); err != nil {
			return err
		}
		logo := *to
		a.deferCheck(d, func() error { return checkLogo(what, logo, a.Issuer) })
		return nil
	}
}

// network parses the policy for approvals from another network than the device's:
// off, warn or require.
func network(to *deviceauth.Network) block.Reader {
	return block.OneOf(to, deviceauth.NetworkOff, deviceauth.NetworkWarn, deviceauth.NetworkRequire)
}
