package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// parseApp reads the global option device_login. It only moves words into
// fields: defaults and checks are where JSON users get them too.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		d.Next()
		return nil, d.Err("device_login is there twice; there is one authorization server in a Caddy")
	}
	app := new(App)
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "device_login", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile reads the block of the global option.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // device_login
	if err := noMore(d); err != nil {
		return err
	}
	b := block{"device_login", map[string]func(*caddyfile.Dispenser) error{
		"issuer":    checked(text(&a.Issuer), func() error { return deviceauth.CheckIssuer(a.Issuer) }),
		"upstream":  checked(a.parseUpstream, func() error { return last(a.Upstreams).check() }),
		"client":    checked(a.parseClient, func() error { return last(a.Clients).check() }),
		"scope":     a.parseScope,
		"audience":  list(&a.Audience),
		"user_code": checked(a.parseUserCode, func() error { return a.UserCode.check() }),
		"lifetime":  a.parseLifetime,
		"pending":   a.parsePending,
		"wait":      durationOrOff(&a.Wait),
		"interval":  duration(&a.Interval),
		"signing":   oneOf(&a.Signing, "ES256", "EdDSA", "RS256"),
		"network":   network(&a.Network),
		"networks":  checked(a.parseNetworkLine, a.checkNetworks),
		"nat64":     checked(list(&a.NAT64), a.checkNAT64),
		"place":     checked(text(&a.Place), a.checkPlace),
		"dialect":   checked(list(&a.Dialects), func() error { return httpapi.CheckDialects(a.Dialects, a.Paths, a.Issuer) }),
		"brand":     checked(a.parseBrand, func() error { return a.Brand.Check() }),
		"paths":     checked(a.parsePaths, func() error { return a.Paths.Check() }),
		"store":     a.parseStore,
	}, []string{"upstream", "client", "scope", "audience", "lifetime", "pending", "networks", "nat64", "dialect"}}
	if err := b.read(d); err != nil {
		return err
	}
	if a.Issuer == "" {
		return d.Err("device_login: issuer is missing; want the URL under which devices and people reach this server")
	}
	return nil
}

func last[T any](list []T) *T { return &list[len(list)-1] }

// parseUpstream reads `upstream <id> <issuer> { … }`.
func (a *App) parseUpstream(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("upstream: want an id and the issuer URL of an OpenID provider")
	}
	u := Upstream{ID: args[0], Issuer: args[1]}
	for _, other := range a.Upstreams {
		if other.ID == u.ID {
			return d.Errf("upstream %s is there twice", u.ID)
		}
	}
	err := block{"upstream " + u.ID, map[string]func(*caddyfile.Dispenser) error{
		"name":          text(&u.Name),
		"client_id":     text(&u.ClientID),
		"client_secret": optionalText(&u.ClientSecret),
		"scopes":        list(&u.Scopes),
		"allow":         parseAllow(&u.Allow),
		"user":          text(&u.User),
		"claims":        list(&u.Claims),
		"revalidate":    set(&u.Revalidate),
		"authorize":     parseParameter(&u.Authorize),
	}, []string{"scopes", "allow", "claims", "authorize"}}.read(d)
	a.Upstreams = append(a.Upstreams, u)
	return err
}

// parseParameter reads `authorize <name> <value>`.
func parseParameter(to *[]upstreamidp.Parameter) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) != 2 {
			return d.Err("authorize: want the name of a parameter and its value, such as: authorize access_type offline")
		}
		*to = append(*to, upstreamidp.Parameter{Name: args[0], Value: args[1]})
		return nil
	}
}

// parseAllow reads `allow <claim> <pattern>...`.
func parseAllow(to *[]deviceauth.Allow) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		args := d.RemainingArgs()
		if len(args) < 2 {
			return d.Err("allow: want a claim and one or more patterns")
		}
		*to = append(*to, deviceauth.Allow{Claim: args[0], Patterns: args[1:]})
		return nil
	}
}

// parseClient reads `client <id> { … }`.
func (a *App) parseClient(d *caddyfile.Dispenser) error {
	var c Client
	if err := text(&c.ID)(d); err != nil {
		return err
	}
	for _, other := range a.Clients {
		if other.ID == c.ID {
			return d.Errf("client %s is there twice", c.ID)
		}
	}
	err := block{"client " + c.ID, map[string]func(*caddyfile.Dispenser) error{
		"name":   text(&c.Name),
		"maker":  text(&c.Maker),
		"logo":   text(&c.Logo),
		"secret": optionalText(&c.Secret),
		"scopes": list(&c.Scopes),
		"origin": list(&c.Origins),
		"from":   list(&c.From),

		"allow":     parseAllow(&c.Allow),
		"network":   network(&c.Network),
		"lifetime":  block{"lifetime", map[string]func(*caddyfile.Dispenser) error{"device_code": duration(&c.DeviceCode)}, nil}.lineOrBlock,
		"prefilled": word("off", &c.Typed),
		"sign_in":   word("fresh", &c.Fresh),
		"notify":    set(&c.Notify),
		"guard":     set(&c.Guard),
	}, []string{"scopes", "origin", "from", "allow"}}.read(d)
	a.Clients = append(a.Clients, c)
	return err
}

func network(to *deviceauth.Network) func(*caddyfile.Dispenser) error {
	return oneOf(to, deviceauth.NetworkOff, deviceauth.NetworkWarn, deviceauth.NetworkRequire)
}

// parseUserCode reads `user_code <mask> [<set>]`.
func (a *App) parseUserCode(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) == 0 || len(args) > 2 {
		return d.Err("user_code: want a mask such as ****-****, and maybe base20, base10 or the characters to use")
	}
	a.UserCode = &UserCode{Mask: args[0]}
	if len(args) == 2 {
		a.UserCode.Set = args[1]
	}
	return nil
}

// parseLifetime reads `lifetime <name> <duration>`, or a block of such lines.
func (a *App) parseLifetime(d *caddyfile.Dispenser) error {
	l := &a.Lifetime
	b := block{"lifetime", map[string]func(*caddyfile.Dispenser) error{
		"device_code":   duration(&l.DeviceCode),
		"access_token":  duration(&l.AccessToken),
		"refresh_token": duration(&l.RefreshToken),
		"refresh_idle":  duration(&l.RefreshIdle),
		"refresh_grace": durationOrOff(&l.RefreshGrace),
		"session":       duration(&l.Session),
	}, nil}
	return b.lineOrBlock(d)
}

// parsePending reads `pending <what> <number>`, or a block of such lines.
func (a *App) parsePending(d *caddyfile.Dispenser) error {
	return block{"pending", map[string]func(*caddyfile.Dispenser) error{
		"address": number(&a.Pending.Address),
		"client":  number(&a.Pending.Client),
		"total":   number(&a.Pending.Total),
	}, nil}.lineOrBlock(d)
}

// parseBrand reads `brand <name> { … }`.
func (a *App) parseBrand(d *caddyfile.Dispenser) error {
	if err := text(&a.Brand.Name)(d); err != nil {
		return err
	}
	return block{"brand", map[string]func(*caddyfile.Dispenser) error{
		"contact": text(&a.Brand.Contact),

		"logo":  text(&a.Brand.Logo),
		"color": a.parseColor,

		"templates": text(&a.Brand.Templates),
	}, nil}.read(d)
}

// parseColor reads `color "#rrggbb"`; the quotes are needed, and often forgotten.
func (a *App) parseColor(d *caddyfile.Dispenser) error {
	if d.CountRemainingArgs() == 0 {
		return d.Err(`color: want a colour such as "#00aa66", in quotes, because # begins a comment here; 00aa66 does too`)
	}
	if err := text(&a.Brand.Color)(d); err != nil {
		return err
	}
	a.Brand.Color = "#" + strings.TrimPrefix(a.Brand.Color, "#")
	return nil
}

func (a *App) parsePaths(d *caddyfile.Dispenser) error {
	if err := noMore(d); err != nil {
		return err
	}
	return block{"paths", map[string]func(*caddyfile.Dispenser) error{
		"authorize":            text(&a.Paths.Authorize),
		"device_authorization": text(&a.Paths.DeviceAuthorization),
		"token":                text(&a.Paths.Token),
		"revoke":               text(&a.Paths.Revoke),
		"introspect":           text(&a.Paths.Introspect),
		"userinfo":             text(&a.Paths.Userinfo),
		"jwks":                 text(&a.Paths.JWKS),
		"device":               text(&a.Paths.Device),
	}, nil}.read(d)
}

// parseStore reads `store <module> …`.
func (a *App) parseStore(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Err("store: want badger, redis or memory")
	}
	name := d.Val()
	module, err := caddyfile.UnmarshalModule(d, "device_login.stores."+name)
	if err != nil {
		return err
	}
	a.StoreRaw = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}
