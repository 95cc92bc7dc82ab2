package caddymodule

import (
	"reflect"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// warnOfProxies warns of servers with our endpoints that believe the first
// address of X-Forwarded-For. Most proxies append to what the client has sent
// there, so that anybody behind one can say any address. By then all servers are
// provisioned.
func (a *App) warnOfProxies() {
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		return
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		if believesFirstAddress(server) && servesEndpoints(server) {
			a.log.Warn("whoever is behind a proxy that appends to X-Forwarded-For chooses their address: "+
				"add trusted_proxies_strict beside trusted_proxies, unless the proxy replaces that header",
				zap.String("server", name), zap.Strings("rests_on_the_address", a.restsOnAddress()))
		}
	}
}

// believesFirstAddress reports whether a server takes the client's address from
// the left of X-Forwarded-For. Caddy keeps the trusted proxies to itself once it
// has provisioned them; whether there are any can still be seen.
func believesFirstAddress(server *caddyhttp.Server) bool {
	trusted := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	trusts := server.TrustedProxiesUnix || trusted.IsValid() && trusted.Kind() == reflect.Interface && !trusted.IsNil()
	return trusts && server.TrustedProxiesStrict == 0 && slices.ContainsFunc(server.ClientIPHeaders, func(h string) bool {
		return strings.EqualFold(h, "X-Forwarded-For")
	})
}

func servesEndpoints(server *caddyhttp.Server) (found bool) {
	walk(server.Routes, siteContext{}, func(_ siteContext, h caddyhttp.MiddlewareHandler) {
		_, ours := h.(*Endpoints)
		found = found || ours
	})
	return found
}

// restsOnAddress lists what is decided by the client's address.
func (a *App) restsOnAddress() []string {
	words := []string{"limits on wrong codes", "pending"}
	requires := func(n deviceauth.Network) bool { return n == deviceauth.NetworkRequire }
	if requires(a.Network) || slices.ContainsFunc(a.Clients, func(c Client) bool { return requires(c.Network) }) {
		words = append(words, "network require")
	}
	if slices.ContainsFunc(a.Clients, func(c Client) bool { return len(c.From) > 0 }) {
		words = append(words, "from")
	}
	return words
}
