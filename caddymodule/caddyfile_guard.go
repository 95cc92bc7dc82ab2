package caddymodule

import (
	"encoding/json"
	"maps"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

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

// parseGuard reads `device_auth [<matcher>] [<scope>...] { … }`. It makes two
// routes: the guard, and the metadata (RFC 9728) that its 401 points to, which
// the matcher need not cover.
func parseGuard(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	g := new(Guard)
	if err := g.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	guard := h.NewRoute(matcher, g)
	if matcher != nil {
		route := guard[0].Value.(caddyhttp.Route)
		route.MatcherSetsRaw = append(route.MatcherSetsRaw, disguised(matcher)...)
		guard[0].Value = route
	}
	metadata := caddy.ModuleMap{"path": h.JSON(caddyhttp.MatchPath{httpapi.ResourceMetadataPath, httpapi.ResourceMetadataPath + "/*"})}
	resource := new(Resource)
	if g.Edge != nil {
		resource.Issuer, resource.Scopes = g.Edge.Issuer, g.Scopes
	}
	return append(h.NewRoute(metadata, resource), guard...), nil
}

// disguised are the sets that match what only seems not to match a matcher:
// other readings of its path patterns, and dot segments anywhere.
func disguised(matcher caddy.ModuleMap) []caddy.ModuleMap {
	var sets []caddy.ModuleMap
	if patterns, ok := matcher["path"]; ok {
		set := maps.Clone(matcher)
		delete(set, "path")
		set["device_auth_path"] = json.RawMessage(`{"patterns":` + string(patterns) + `}`)
		sets = append(sets, set)
		if len(set) == 1 {
			return sets
		}
	}
	return append(sets, caddy.ModuleMap{"device_auth_path": json.RawMessage("{}")})
}

// UnmarshalCaddyfile reads the directive without its matcher.
func (g *Guard) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // device_auth
	g.Scopes = d.RemainingArgs()
	var edge Edge
	var far *caddyfile.Dispenser // the first word about a server elsewhere
	err := block{"device_auth", map[string]func(*caddyfile.Dispenser) error{
		"scopes":        list(&g.Scopes),
		"audience":      list(&g.Audience),
		"optional":      set(&g.Optional),
		"authorization": oneOf(&g.Authorization, "strip", "keep"),
		"header":        g.parseHeader,
		"basic":         set(&g.Basic),
		"preflight":     oneOf(&g.Preflight, "pass"),
		"report_only":   set(&g.ReportOnly),
		"legacy":        g.parseLegacy,
		"issuer":        noting(&far, checked(text(&edge.Issuer), func() error { return deviceauth.CheckIssuer(edge.Issuer) })),
		"client":        noting(&far, edge.parseClient),
		"cache":         noting(&far, durationOrOff(&edge.Cache)),
		"origin":        noting(&far, checked(list(&edge.Origins), edge.check)),
	}, []string{"scopes", "audience", "header", "origin"}}.read(d)
	if far == nil || err != nil {
		return err
	}
	g.Edge = &edge
	return edge.complete(far)
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

// parseHeader reads `header <Name> <claim>`.
func (g *Guard) parseHeader(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Err("header: want the name of a header and of a claim, such as: header X-User email")
	}
	g.Headers = append(g.Headers, httpapi.IdentityHeader{Name: args[0], Claim: args[1]})
	return nil
}

var (
	_ caddyfile.Unmarshaler = (*App)(nil)
	_ caddyfile.Unmarshaler = (*Guard)(nil)
)
