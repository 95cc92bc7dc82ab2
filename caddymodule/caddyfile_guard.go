package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// parseEndpoints reads the directive device_login, which has no options: they
// are all in the global one.
func parseEndpoints(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	if err := noMore(h.Dispenser); err != nil {
		return nil, err
	}
	if h.NextBlock(0) {
		return nil, h.Err("device_login takes no block here; its options are in the global options")
	}
	return new(Endpoints), nil
}

// parseGuard reads `device_auth [<matcher>] [<scope>...] { … }`. The route has
// no matcher: the guard has it within, and sees every request of its site.
func parseGuard(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	g := new(Guard)
	if matcher != nil {
		g.MatcherSetsRaw = caddyhttp.RawMatcherSets{matcher}
	}
	line := *h.Dispenser // reading the block moves on
	line.Next()
	if err := g.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	if inBlock(h) {
		caddy.Log().Named("caddyfile").Warn("device_auth in a block guards only what the block's own matcher lets in, in one spelling, and only there are identity headers taken off; better: device_auth at the top of the site, with its own matcher",
			zap.String("file", line.File()), zap.Int("line", line.Line()))
	}
	return h.NewRoute(nil, g), nil
}

// inBlock reports whether a directive stands in a block such as handle or route:
// there its state is a copy of the site's.
func inBlock(h httpcaddyfile.Helper) bool {
	const mark = "device_auth.mark"
	defer delete(h.State, mark)
	h.State[mark] = true
	return h.BlockState[mark] == nil
}

// UnmarshalCaddyfile reads the directive without its matcher.
func (g *Guard) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // device_auth
	for d.NextArg() {
		if err := checkScope(d.Val()); err != nil {
			return d.WrapErr(err)
		}
		g.Scopes = append(g.Scopes, d.Val())
	}
	var edge Edge
	var far *caddyfile.Dispenser // the first word about a server elsewhere
	err := block{"device_auth", map[string]func(*caddyfile.Dispenser) error{
		"scopes":        checked(list(&g.Scopes), func() error { return checkScopes(g.Scopes) }),
		"audience":      list(&g.Audience),
		"optional":      set(&g.Optional),
		"authorization": oneOf(&g.Authorization, "strip", "keep"),
		"header":        g.parseHeader,
		"token_header":  checked(text(&g.TokenHeader), g.checkTokenHeader),
		"basic":         set(&g.Basic),
		"preflight":     oneOf(&g.Preflight, "pass"),
		"report_only":   set(&g.ReportOnly),
		"legacy":        g.parseLegacy,
		"issuer":        noting(&far, checked(text(&edge.Issuer), func() error { return deviceauth.CheckIssuer(edge.Issuer) })),
		"client":        noting(&far, edge.parseClient),
		"cache":         g.parseCache(&far, &edge.Cache),
		"origin":        noting(&far, checked(list(&edge.Origins), edge.check)),
	}, []string{"scopes", "audience", "header", "origin", "cache"}}.read(d)
	if far == nil || err != nil {
		return err
	}
	g.Edge = &edge
	return edge.complete(far)
}

// parseCache reads `cache keep`, and `cache <duration>|off` of a guard whose
// server is another Caddy.
func (g *Guard) parseCache(far **caddyfile.Dispenser, memory **caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		next := *d
		if next.NextArg() && next.Val() == "keep" {
			return oneOf(&g.Cache, "keep")(d)
		}
		return noting(far, durationOrOff(memory))(d)
	}
}

// complete wants what every guard far from its server must have.
func (e *Edge) complete(at *caddyfile.Dispenser) error {
	if e.Issuer == "" || e.ClientID == "" {
		return at.Errf("device_auth: %s is for a guard whose server is another Caddy, which wants issuer and client: the server's URL, and the id and secret of a client that it declares with guard", at.Val())
	}
	return nil
}

// parseClient reads `client <id> <secret>`.
func (e *Edge) parseClient(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("client: want an id and a secret, such as: client edge {env.EDGE_SECRET}")
	}
	e.ClientID, e.ClientSecret = args[0], args[1]
	return nil
}

// parseLegacy reads `legacy <header> <file> [<date>]`.
func (g *Guard) parseLegacy(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return d.Err("legacy: want the header and the file of the old API keys, and maybe since when they are deprecated, such as: legacy X-Api-Key /etc/caddy/keys 2026-01-31")
	}
	g.Legacy = &Legacy{Header: args[0], File: args[1]}
	if len(args) == 3 {
		g.Legacy.Since = args[2]
	}
	return nil
}

// parseHeader reads `header <Name> <claim> [encoded]`.
func (g *Guard) parseHeader(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 || len(args) == 3 && args[2] != "encoded" {
		return d.Err("header: want the name of a header and of a claim, and maybe encoded, such as: header X-User email")
	}
	g.Headers = append(g.Headers, httpapi.IdentityHeader{Name: args[0], Claim: args[1], Encoded: len(args) == 3})
	return nil
}

var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Guard)(nil)
)
