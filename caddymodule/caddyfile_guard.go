package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/block"
	"github.com/deviceauth/caddy-deviceauth/caddymodule/matcher"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// parseEndpoints parses the directive device_login of a site. It has no options,
// which are all in the global option, and no matcher: the paths that it serves follow
// from the issuer URL alone.
func parseEndpoints(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	line := *h.Dispenser
	switch {
	case h.NextArg():
		return nil, h.Errf("device_login: unexpected argument %q: in a site it takes no matcher and no options; "+
			"it serves what is under the issuer's URL, and its options are in the global options", h.Val())
	case h.Next():
		return nil, line.Err("device_login takes no block here; its options are in the global options")
	}
	if h.Option("device_login") == nil {
		return nil, line.Err("device_login needs the global option of the same name: device_login { issuer … }")
	}
	// Without the admin endpoint the command device-auth does not work, which an
	// operator may notice only when a device must be disconnected.
	if admin, ok := h.Option("admin").(*caddy.AdminConfig); ok && admin.Disabled {
		caddy.Log().Named("caddyfile").Warn("with admin off nobody can look at grants or end them, rotate keys, "+
			"make a backup, or ask for health there: the command device-auth has no endpoint to talk to",
			zap.String("file", line.File()), zap.Int("line", line.Line()))
	}
	return h.NewRoute(nil, new(Endpoints)), nil
}

// parseGuard parses `device_auth [<matcher>] [<scope>...] { … }`. The matcher becomes
// a field of the guard instead of a matcher of the route, so that the guard sees
// every request of its site, and can strip identity headers from those that it does
// not guard.
func parseGuard(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	line := *h.Dispenser // a copy, because parsing the block moves the dispenser on
	set, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, line.WrapErr(err)
	}
	g := new(Guard)
	if err := matcher.Check(set); err != nil {
		return nil, line.WrapErr(err)
	}
	if set != nil {
		g.MatcherSetsRaw = caddyhttp.RawMatcherSets{set}
	}
	if err := g.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if g.Edge == nil && h.Option("device_login") == nil {
		return nil, line.Err("device_auth needs the global option device_login, " +
			"or issuer and client of a server elsewhere")
	}
	if inBlock(h) {
		caddy.Log().Named("caddyfile").Warn("device_auth in a block guards only what the block's own matcher lets in, "+
			"in one spelling, and only there are identity headers taken off; "+
			"better: device_auth at the top of the site, with its own matcher",
			zap.String("file", line.File()), zap.Int("line", line.Line()))
	}
	return h.NewRoute(nil, g), nil
}

// inBlock reports whether a directive is within a block such as handle or route. The
// Caddyfile adapter gives a block a copy of the site's state: a value that is set
// here is then missing in the state of the enclosing block.
func inBlock(h httpcaddyfile.Helper) bool {
	// The key is set in the directive's state only. The state of an enclosing block
	// was copied before and lacks the key.
	const key = "device_auth.mark"
	defer delete(h.State, key)
	h.State[key] = true
	return h.BlockState[key] == nil
}

// UnmarshalCaddyfile parses the directive after its matcher: the scopes, and the
// block. The words issuer, client, cache, origin and ca are about a server in another
// Caddy; together they make the field Edge.
func (g *Guard) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // device_auth
	// All arguments after the matcher are scopes, separated by spaces (RFC 6749
	// §3.3).
	for d.NextArg() {
		if err := checkScopes([]string{d.Val()}); err != nil {
			return d.WrapErr(err)
		}
		g.Scopes = append(g.Scopes, d.Val())
	}
	var edge Edge
	var firstEdge *caddyfile.Dispenser // position of the first word about a server in another Caddy
	table := block.Block{What: "device_auth", Check: g.Validate, Words: block.Words{
		"scopes":        &g.Scopes,
		"audience":      &g.Audience,
		"optional":      &g.Optional,
		"authorization": block.OneOf(&g.Authorization, "strip", "keep"),
		"header":        g.parseHeader,
		"token_header":  &g.TokenHeader,
		"basic":         &g.Basic,
		"preflight":     block.OneOf(&g.Preflight, "pass"),
		"report_only":   &g.ReportOnly,
		"legacy":        g.parseLegacy,
		"issuer": block.FirstOf(&firstEdge, block.Checked(&edge.Issuer, func() error {
			return discovery.CheckIssuer(edge.Issuer)
		})),
		"client": block.FirstOf(&firstEdge, edge.parseClient),
		"cache":  g.parseCache(&firstEdge, &edge.Cache),
		"origin": block.FirstOf(&firstEdge, block.Checked(&edge.Origins, edge.check)),
		"ca":     block.FirstOf(&firstEdge, &edge.CA),
	}, Many: []string{"audience", "header", "origin", "cache"}}
	err := table.Read(d)
	// Words about a server in another Caddy are valid only together; complete reports
	// what is missing at the first of them.
	if firstEdge == nil || err != nil {
		return err
	}
	g.Edge = &edge
	return edge.complete(firstEdge)
}

// parseCache parses `cache keep`, which is about the cache headers of responses, and
// `cache <duration>|off` of a guard whose server is in another Caddy, which is how
// long an introspection response is cached.
func (g *Guard) parseCache(firstEdge **caddyfile.Dispenser, memory **caddy.Duration) block.Reader {
	return func(d *caddyfile.Dispenser) error {
		next := *d
		if next.NextArg() && next.Val() == "keep" {
			return block.OneOf(&g.Cache, "keep")(d)
		}
		return block.FirstOf(firstEdge, memory)(d)
	}
}

// complete checks that a guard with any word about a server in another Caddy has both
// the issuer and the client credentials for introspection.
func (e *Edge) complete(at *caddyfile.Dispenser) error {
	if e.Issuer == "" || e.ClientID == "" {
		return at.Errf("device_auth: %s is for a guard whose server is another Caddy, which wants issuer and client: "+
			"the server's URL, and the id and secret of a client that it declares with guard", at.Val())
	}
	return nil
}

// parseClient parses `client <id> <secret>`: the credentials of this guard at the
// introspection endpoint (RFC 7662 §2.1).
func (e *Edge) parseClient(d *caddyfile.Dispenser) error {
	args, err := block.Arguments(d, 2, 2, "an id and a secret, such as: client edge {env.EDGE_SECRET}")
	if err != nil {
		return err
	}
	e.ClientID, e.ClientSecret = args[0], args[1]
	return nil
}

// parseLegacy parses `legacy <header> <file> [<date>]`. With a date, responses say
// that the keys are deprecated since then.
func (g *Guard) parseLegacy(d *caddyfile.Dispenser) error {
	args, err := block.Arguments(d, 2, 3, "the header and the file of the old API keys, "+
		"and maybe since when they are deprecated, such as: legacy X-Api-Key /etc/caddy/keys 2026-01-31")
	if err != nil {
		return err
	}
	g.Legacy = &Legacy{Header: args[0], File: args[1]}
	if len(args) == 3 {
		g.Legacy.Since = args[2]
	}
	return nil
}

// parseHeader parses `header <Name> <claim> [encoded]`. With encoded the value is
// percent-encoded, so that it is ASCII for any claim.
func (g *Guard) parseHeader(d *caddyfile.Dispenser) error {
	const wanted = "the name of a header and of a claim, and maybe encoded, such as: header X-User email"
	args, err := block.Arguments(d, 2, 3, wanted)
	if err != nil {
		return err
	}
	// The third argument is a flag: its only possible value is the word itself.
	if len(args) == 3 && args[2] != "encoded" {
		return d.Errf("header: unexpected argument %q: want %s", args[2], wanted)
	}
	g.Headers = append(g.Headers, guard.IdentityHeader{Name: args[0], Claim: args[1], Encoded: len(args) == 3})
	return nil
}

var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Guard)(nil)
)
