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
	if err := noMore("device_login", d); err != nil {
		return err
	}
	if err := a.block().read(d); err != nil {
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
func (a *App) block() block {
	// These may be on several lines, but each name in them only once, so each block
	// and its seen are shared by the lines.
	lifetime, pending := a.lifetimeBlock(), a.pendingBlock()
	return block{what: "device_login", check: a.checkSoFar, words: map[string]lineReader{
		"issuer":       oneArg(&a.Issuer),
		"upstream":     checked(a.parseUpstream, func() error { return last(a.Upstreams).check() }),
		"client":       checked(a.parseClient, func() error { return last(a.Clients).check() }),
		"registration": checked(a.parseRegistration, func() error { return a.Registration.check() }),
		"scope":        a.parseScope,
		"audience":     list(&a.Audience),
		"user_code":    checked(a.parseUserCode, func() error { return a.UserCode.check() }),
		"lifetime":     lifetime.lineOrBlock,
		"pending":      pending.lineOrBlock,
		"wait":         durationOrOff(&a.Wait),
		"interval":     duration(&a.Interval),
		"signing":      oneOf(&a.Signing, "ES256", "EdDSA", "RS256"),
		"network":      network(&a.Network),
		"networks":     a.parseNetworkLine,
		"nat64":        checked(list(&a.NAT64), a.checkNAT64),
		"place":        checked(oneArg(&a.Place), a.checkPlace),
		"health":       a.parseHealth,
		"dialect":      a.parseDialects,
		"brand":        a.parseBrand,
		"paths":        a.parsePaths,
		"store":        a.parseStore,
	}, many: []string{
		"upstream", "client", "scope", "audience", "lifetime", "pending", "networks", "nat64", "dialect",
	}}
}

// checkSoFar checks the options that have been parsed, as the engine does for JSON
// users. It omits the blocks that have their own checks, and uses a placeholder for
// an issuer that is still to come.
func (a *App) checkSoFar() error {
	part := App{
		Issuer: cmp.Or(a.Issuer, "https://localhost"), Audience: a.Audience, UserCode: a.UserCode,
		Lifetime: a.Lifetime, Pending: a.Pending, Wait: a.Wait, Interval: a.Interval,
		Network: a.Network, Networks: a.Networks, NAT64: a.NAT64,
	}
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
	if err := list(&a.Dialects)(d); err != nil {
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
	if err := checked(oneArg(&a.Health), a.checkHealthPath)(d); err != nil {
		return err
	}
	a.deferCheck(d, a.checkHealthPath)
	return nil
}

// parseUserCode parses `user_code <mask> [<set>]`, such as `user_code ****-****
// base20`.
func (a *App) parseUserCode(d *caddyfile.Dispenser) error {
	args, err := arguments(d, 1, 2, "a mask such as ****-****, and maybe base20, base10 or the characters to use")
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
func (a *App) lifetimeBlock() block {
	l := &a.Lifetime
	return block{what: "lifetime", seen: map[string]bool{}, check: a.checkSoFar, words: map[string]lineReader{
		"device_code":   duration(&l.DeviceCode),
		"access_token":  duration(&l.AccessToken),
		"refresh_token": duration(&l.RefreshToken),
		"refresh_idle":  duration(&l.RefreshIdle),
		"refresh_grace": durationOrOff(&l.RefreshGrace),
		"session":       duration(&l.Session),
	}}
}

// pendingBlock returns the block of `pending <what> <number>` lines.
func (a *App) pendingBlock() block {
	return block{what: "pending", seen: map[string]bool{}, words: map[string]lineReader{
		"address": number(&a.Pending.Address),
		"client":  number(&a.Pending.Client),
		"total":   number(&a.Pending.Total),
	}}
}

// parseBrand parses `brand <name> { … }`, the appearance of the pages.
func (a *App) parseBrand(d *caddyfile.Dispenser) error {
	if err := oneArg(&a.Brand.Name)(d); err != nil {
		return err
	}
	// Template files are not read here: they may be missing on a machine where a
	// Caddyfile is only adapted.
	return block{what: "brand", check: func() error { return a.Brand.Check() }, words: map[string]lineReader{
		"contact": oneArg(&a.Brand.Contact),

		"logo":  oneArg(&a.Brand.Logo),
		"color": a.parseColor,

		"templates": oneArg(&a.Brand.Templates),
	}}.read(d)
}

// parseColor parses `color "#rrggbb"`. An unquoted # begins a comment in a Caddyfile,
// so the error for a missing argument explains that, and the # may be omitted.
func (a *App) parseColor(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() == 0 {
		return d.Err(`color: want a colour such as "#00aa66", in quotes, ` +
			"because # begins a comment here; 00aa66 does too")
	}
	if err := oneArg(&a.Brand.Color)(d); err != nil {
		return err
	}
	a.Brand.Color = "#" + strings.TrimPrefix(a.Brand.Color, "#")
	return nil
}

// parsePaths parses `paths { <endpoint> <path> … }`. It stores the position of each
// line, because a collision of two paths is reported at the line of one of them.
func (a *App) parsePaths(d *caddyfile.Dispenser) error {
	if err := noMore("paths", d); err != nil {
		return err
	}
	header, lines := *d, map[string]*caddyfile.Dispenser{}
	path := func(name string, to *string) lineReader {
		return func(d *caddyfile.Dispenser) error {
			line := *d
			lines[name] = &line
			return oneArg(to)(d)
		}
	}
	p := &a.Paths
	words := map[string]lineReader{}
	for name, to := range map[string]*string{
		"authorize": &p.Authorize, "device_authorization": &p.DeviceAuthorization, "token": &p.Token,
		"register": &p.Register,
		"revoke":   &p.Revoke, "introspect": &p.Introspect, "userinfo": &p.Userinfo, "jwks": &p.JWKS,
		"device": &p.Device,
	} {
		words[name] = path(name, to)
	}
	if err := (block{what: "paths", words: words}).read(d); err != nil {
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
