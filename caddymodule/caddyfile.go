package caddymodule

import (
	"cmp"
	"errors"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/block"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
)

// parseApp parses the global option device_login. It only assigns words to fields;
// defaults and checks are applied where JSON users get them, too. The option must not
// be repeated, because a Caddy has one authorization server.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("duplicate device_login; there is one authorization server in a Caddy")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "device_login", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile parses the block of the global option. Checks that need several
// lines, such as for paths that collide, run at the end of the block, each with the
// position of its own line.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // device_login
	line := *d
	if err := a.block().Read(d); err != nil {
		return err
	}
	if a.Issuer == "" {
		return line.Err("device_login: issuer is missing; " +
			"want the URL under which devices and people reach this server")
	}
	for _, check := range a.deferredChecks {
		if err := check(); err != nil {
			return err
		}
	}
	if a.deferredChecks = nil; len(a.Upstreams) == 0 {
		return line.WrapErr(errNoUpstream)
	}
	return nil
}

// block returns the table of the option's subdirectives.
func (a *App) block() *block.Block {
	// These may be on several lines, but each name in them only once, so the lines
	// share a block.
	lifetime, pending := a.lifetimeBlock(), a.pendingBlock()
	return &block.Block{What: "device_login", Check: a.checkSoFar, Words: block.Words{
		"issuer":       &a.Issuer,
		"upstream":     block.Checked(a.parseUpstream, func() error { return last(a.Upstreams).check() }),
		"client":       block.Checked(a.parseClient, func() error { return last(a.Clients).check() }),
		"registration": block.Checked(a.parseRegistration, func() error { return a.Registration.check() }),
		"scope":        a.parseScope,
		"audience":     &a.Audience,
		"user_code":    block.Checked(a.parseUserCode, func() error { return a.UserCode.check() }),
		"lifetime":     lifetime.LineOrBlock,
		"pending":      pending.LineOrBlock,
		"wait":         &a.Wait,
		"interval":     &a.Interval,
		"signing":      block.OneOf(&a.Signing, "ES256", "EdDSA", "RS256"),
		"network":      network(&a.Network),
		"networks":     a.parseNetworkLine,
		"nat64":        block.Checked(&a.NAT64, a.checkNAT64),
		"place":        block.Checked(&a.Place, a.checkPlace),
		"health":       a.parseHealth,
		"dialect":      a.parseDialects,
		"brand":        a.parseBrand,
		"paths":        a.parsePaths,
		"store":        a.parseStore,
	}, Many: []string{
		"upstream", "client", "scope", "audience", "lifetime", "pending", "networks", "nat64", "dialect",
	}}
}

// checkSoFar checks the options that have been parsed, as the engine does for JSON
// users. It omits the blocks that have their own checks, and uses a placeholder for
// an issuer that is still to come.
func (a *App) checkSoFar() error {
	part := *a
	part.Issuer = cmp.Or(a.Issuer, "https://localhost")
	part.Upstreams, part.Clients, part.Registration, part.Scopes = nil, nil, nil, nil
	c, err := part.config()
	if err != nil {
		return err
	}
	return c.Check()
}

// deferCheck defers the check of a line to the end of the block, when all lines that
// it depends on have been parsed. Its error has the position of the line.
func (a *App) deferCheck(d *caddyfile.Dispenser, check func() error) {
	line := *d
	a.deferredChecks = append(a.deferredChecks, func() error {
		if err := check(); err != nil {
			return line.WrapErr(err)
		}
		return nil
	})
}

// last returns the last element, which a line has just appended.
func last[T any](list []T) *T { return &list[len(list)-1] }

// parseDialects parses `dialect <product>…`. Whether the dialect's paths are free
// depends on other lines, so that check is deferred.
func (a *App) parseDialects(d *caddyfile.Dispenser) error {
	if err := block.Field(d, &a.Dialects); err != nil {
		return err
	}
	// A later dialect line has its own check, so that each error is reported at the
	// line that caused it.
	known := len(a.Dialects)
	a.deferCheck(d, func() error { return oauthapi.CheckDialects(a.Dialects[:known], a.Paths, a.Issuer) })
	return nil
}

// parseHealth parses `health <path>`. Whether the path is free depends on other
// lines, so it is checked now and again at the end of the block.
func (a *App) parseHealth(d *caddyfile.Dispenser) error {
	if err := block.Checked(&a.Health, a.checkHealthPath)(d); err != nil {
		return err
	}
	a.deferCheck(d, a.checkHealthPath)
	return nil
}

// parseUserCode parses `user_code <mask> [<set>]`, such as `user_code ****-****
// base20`.
func (a *App) parseUserCode(d *caddyfile.Dispenser) error {
	args, err := block.Arguments(d, 1, 2, "a mask such as ****-****, and maybe base20, base10 or the characters to use")
	if err != nil {
		return err
	}
	a.UserCode = &UserCode{Mask: args[0]}
	if len(args) == 2 {
		a.UserCode.Set = args[1]
	}
	return nil
}

// lifetimeBlock returns the block of `lifetime <name> <duration>` lines.
func (a *App) lifetimeBlock() *block.Block {
	l := &a.Lifetime
	return &block.Block{What: "lifetime", Check: a.checkSoFar, Words: block.Words{
		"device_code":   &l.DeviceCode,
		"access_token":  &l.AccessToken,
		"refresh_token": &l.RefreshToken,
		"refresh_idle":  &l.RefreshIdle,
		"refresh_grace": &l.RefreshGrace,
		"session":       &l.Session,
	}}
}

// pendingBlock returns the block of `pending <what> <number>` lines.
func (a *App) pendingBlock() *block.Block {
	return &block.Block{What: "pending", Words: block.Words{
		"address": &a.Pending.Address,
		"client":  &a.Pending.Client,
		"total":   &a.Pending.Total,
	}}
}

// parseBrand parses `brand <name> { … }`, the appearance of the pages.
func (a *App) parseBrand(d *caddyfile.Dispenser) error {
	if err := block.Field(d, &a.Brand.Name); err != nil {
		return err
	}
	// Template files are not read here: they may be missing on a machine where a
	// Caddyfile is only adapted.
	table := block.Block{What: "brand", Check: func() error { return a.Brand.Check() }, Words: block.Words{
		"contact": &a.Brand.Contact,

		"logo":  &a.Brand.Logo,
		"color": a.parseColor,

		"templates": &a.Brand.Templates,
	}}
	return table.Read(d)
}

// parseColor parses `color "#rrggbb"`. An unquoted # begins a comment in a Caddyfile,
// so the error for a missing argument explains that, and the # may be omitted.
func (a *App) parseColor(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() == 0 {
		return d.Err(`color: want a colour such as "#00aa66", in quotes, ` +
			"because # begins a comment here; 00aa66 does too")
	}
	if err := block.Field(d, &a.Brand.Color); err != nil {
		return err
	}
	a.Brand.Color = "#" + strings.TrimPrefix(a.Brand.Color, "#")
	return nil
}

// parsePaths parses `paths { <endpoint> <path> … }`. It stores the position of each
// line, because a collision of two paths is reported at the line of one of them.
func (a *App) parsePaths(d *caddyfile.Dispenser) error {
	header, lines := *d, map[string]*caddyfile.Dispenser{}
	p := &a.Paths
	table := block.Block{What: "paths", Words: block.Words{}}
	for name, to := range map[string]*string{
		"authorize": &p.Authorize, "device_authorization": &p.DeviceAuthorization, "token": &p.Token,
		"register": &p.Register,
		"revoke":   &p.Revoke, "introspect": &p.Introspect, "userinfo": &p.Userinfo, "jwks": &p.JWKS,
		"device": &p.Device,
	} {
		table.Words[name] = func(d *caddyfile.Dispenser) error {
			line := *d
			lines[name] = &line
			return block.Field(d, to)
		}
	}
	if err := table.Read(d); err != nil {
		return err
	}
	err := p.Check()
	if wrong := new(oauthapi.PathError); errors.As(err, &wrong) {
		// The position of Name takes precedence, since the other path may be a
		// default without a line.
		for _, name := range []string{wrong.Taken, wrong.Name} {
			if line := lines[name]; line != nil {
				header = *line
			}
		}
	}
	if err != nil {
		return header.WrapErr(err)
	}
	return nil
}

// parseStore parses `store <module> …`. The module may be any in the namespace
// device_login.stores, including those of other plugins, and parses the rest itself.
func (a *App) parseStore(d *caddyfile.Dispenser) error {
	// The namespace is open to modules of other plugins.
	const namespace = "device_login.stores"
	var known []string
	for _, module := range caddy.GetModules(namespace) {
		known = append(known, module.ID.Name())
	}
	slices.Sort(known)
	want := strings.Join(known, ", ")
	if !d.NextArg() {
		return d.Errf("store: want one of: %s", want)
	}
	name := d.Val()
	if !slices.Contains(known, name) {
		return d.Errf("store %q: want one of: %s", name, want)
	}
	// The rest is parsed by the store's own parser, as for any guest module.
	module, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}
