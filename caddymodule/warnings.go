package caddymodule

import (
	"cmp"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Warnings about a configuration that is valid but probably not intended. They are
// logged after everything is provisioned: at the start, or at Cleanup if the
// configuration was only validated. They need neither network nor store, so that
// `caddy validate` shows them, too.

// warn logs the warnings, once for each configuration.
func (a *App) warn() {
	a.warned.Do(func() {
		a.warnOfProxies()
		a.warnOfUnservedIssuer()
		a.warnOfStorage()
		a.warnOfGuards()
	})
}

// warnOfUnservedIssuer warns of an issuer URL for which no site has the directive
// device_login: devices would get no response. It cannot follow named routes, so it
// does not warn if there are any.
func (a *App) warnOfUnservedIssuer() {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return
	}
	u, err := url.Parse(a.Issuer)
	if err != nil {
		return
	}
	var sites []string
	for _, server := range app.(*caddyhttp.App).Servers {
		if len(server.NamedRoutes) > 0 {
			return // a route that invokes them may serve it
		}
		sites = append(sites, endpointHosts(server)...)
	}
	switch {
	case len(sites) == 0:
		a.log.Warn("no site serves the issuer: no device and no person gets an answer; "+
			"put the directive device_login into its site", zap.String("issuer", a.Issuer))
	case !slices.ContainsFunc(sites, func(host string) bool { return coversHost(host, u.Hostname()) }):
		a.log.Warn("the directive device_login is in no site of the issuer's host, at which devices and people ask",
			zap.String("issuer", a.Issuer), zap.Strings("sites", sites))
	}
}

// coversHost reports whether a host matcher may match a host. A `*` stands for one
// label, and a placeholder for anything.
func coversHost(matcher, host string) bool {
	if matcher == "*" || strings.Contains(matcher, "{") {
		return true
	}
	if bare, _, err := net.SplitHostPort(matcher); err == nil {
		matcher = bare
	}
	pattern, name := strings.Split(strings.ToLower(matcher), "."), strings.Split(strings.ToLower(host), ".")
	return slices.EqualFunc(pattern, name, func(p, n string) bool { return p == "*" || p == n })
}

// warnOfStorage warns if Caddy's storage option has been changed, for example to a
// database that several Caddys share: grants and keys do not follow it, and stay in a
// local directory.
func (a *App) warnOfStorage() {
	badger, ok := a.store.(*BadgerStore)
	if !ok || badger.Path != resolveLinks(defaultStore()) || a.ctx.Storage() == caddy.DefaultStorage {
		return
	}
	a.log.Warn("grants and signing keys do not follow Caddy's storage option: "+
		"they are in a directory of this machine; "+
		"name it with store badger, or take store redis for several gateways", zap.String("path", badger.Path))
}

// warnOfGuards warns of guards that accept no token at all, because no client may
// have their scope or no token has their audience, and of guards that accept more
// than intended.
func (a *App) warnOfGuards() {
	audiences := a.Audience
	if len(audiences) == 0 {
		audiences = []string{a.Issuer}
	}
	// A client can only request its own scopes, so no token has any other.
	var possible []string
	for _, c := range a.Clients {
		possible = append(possible, c.Scopes...)
	}
	if a.Registration != nil {
		possible = append(possible, a.Registration.Scopes...)
	}
	for _, g := range a.guards {
		for _, scope := range g.Scopes {
			if !slices.Contains(possible, scope) {
				a.log.Warn("a guard asks for a scope that no client may have", zap.String("scope", scope))
			}
		}
		if len(g.Audience) > 0 && !deviceauth.SameAudience(audiences, g.Audience) {
			a.log.Warn("a guard accepts audiences alone that no token has: "+
				"add one of them to the audiences of the server",
				zap.Strings("guard", g.Audience), zap.Strings("server", audiences))
		}
	}
	a.warnOfKeys()
	a.warnOfOpenGuards(audiences)
}

// warnOfKeys warns of an old API key with a scope that no guard asks for, which is mostly a
// typing error.
func (a *App) warnOfKeys() {
	var asked []string
	for _, g := range a.guards {
		asked = append(asked, g.Scopes...)
	}
	type unknown struct{ file, client, scope string }
	var all []unknown
	for _, g := range a.guards {
		if g.Legacy == nil || g.Legacy.keys == nil {
			continue
		}
		for _, client := range g.Legacy.keys.Clients() {
			for scope := range strings.FieldsSeq(string(client.Scope)) {
				one := unknown{file: g.Legacy.File, client: client.ClientID, scope: scope}
				if !slices.Contains(asked, scope) && !slices.Contains(all, one) {
					all = append(all, one)
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b unknown) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.client, b.client), cmp.Compare(a.scope, b.scope))
	})
	for _, u := range all {
		a.log.Warn("an old API key has a scope that no guard asks for",
			zap.String("file", u.file), zap.String("client", u.client), zap.String("scope", u.scope))
	}
}

// warnOfOpenGuards warns of guards without an audience if the server has several
// audiences: such a guard accepts a token for one API at another, which audiences
// (RFC 8707 §2.2) should prevent.
func (a *App) warnOfOpenGuards(audiences []string) {
	open := 0
	for _, g := range a.guards {
		if len(g.Audience) == 0 {
			open++
		}
	}
	if open > 0 && len(audiences) > 1 {
		a.log.Warn("a guard without audience accepts tokens for all audiences of the server: "+
			"name in its block those that it is for",
			zap.Int("guards", open), zap.Strings("audiences", audiences))
	}
}
