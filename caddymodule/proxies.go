package caddymodule

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/routes"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// warnOfProxies warns of servers with the endpoints that take the client's address
// from the left end of X-Forwarded-For. Most proxies append to the client's header,
// so a client behind such a proxy can claim any address. It must be called after all
// servers are provisioned.
func (a *App) warnOfProxies() {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		if believesFirstAddress(server) && len(endpointHosts(server)) > 0 {
			a.log.Warn("whoever is behind a proxy that appends to X-Forwarded-For chooses their address: "+
				"add trusted_proxies_strict beside trusted_proxies, unless the proxy replaces that header",
				zap.String("server", name), zap.Strings("rests_on_the_address", a.restsOnAddress()))
		}
	}
}

// believesFirstAddress reports whether a server takes the client's address from the
// left end of X-Forwarded-For. Caddy keeps the provisioned trusted proxies in an
// unexported field; reflection shows at least whether there are any.
func believesFirstAddress(server *caddyhttp.Server) bool {
	trusted := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	trusts := server.TrustedProxiesUnix || trusted.IsValid() && trusted.Kind() == reflect.Interface && !trusted.IsNil()
	if !trusts || server.TrustedProxiesStrict != 0 {
		return false
	}
	return slices.ContainsFunc(server.ClientIPHeaders, func(h string) bool {
		return strings.EqualFold(h, "X-Forwarded-For")
	})
}

// endpointHosts returns the hosts of the sites of a server with the directive
// device_login, with * for a site without a host.
func endpointHosts(server *caddyhttp.Server) (hosts []string) {
	routes.Walk(server.Routes, func(at routes.Position, h caddyhttp.MiddlewareHandler) {
		if _, ours := h.(*Endpoints); ours {
			hosts = append(hosts, strings.Fields(cmp.Or(at.Host, "*"))...)
		}
	})
	return hosts
}

// restsOnAddress returns the options whose protection depends on the client's
// address, for the warning.
func (a *App) restsOnAddress() []string {
	words := []string{"limits on wrong codes", "pending"}
	requires := func(n deviceauth.Network) bool { return n == deviceauth.NetworkRequire }
	if requires(a.Network) || slices.ContainsFunc(a.Clients, func(c Client) bool { return requires(c.Network) }) {
		// This and the next depend on the options; the limits always count by
		// address.
		words = append(words, "network require")
	}
	if slices.ContainsFunc(a.Clients, func(c Client) bool { return len(c.From) > 0 }) {
		words = append(words, "from")
	}
	return words
}
