// Package caddymodule wires: it is the one place that knows Caddy. The app
// device_login owns the engine, its store, its keys and its upstreams; the
// handlers device_login and device_auth put the endpoints and the guard into
// sites. It decides nothing about grants.
package caddymodule

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	_ "github.com/deviceauth/caddy-deviceauth/caddymodule/cli" // the commands
)

func init() {
	caddy.RegisterModule(App{})
	caddy.RegisterModule(Endpoints{})
	caddy.RegisterModule(Guard{})
	caddy.RegisterModule(Site{})
	caddy.RegisterModule(Admin{})
	caddy.RegisterModule(sites{})
	caddy.RegisterModule(BadgerStore{})
	caddy.RegisterModule(MemoryStore{})
	caddy.RegisterModule(RedisStore{})

	httpcaddyfile.RegisterGlobalOption("device_login", parseApp)
	httpcaddyfile.RegisterDirective("device_login", parseEndpoints)
	httpcaddyfile.RegisterDirective("device_auth", parseGuard)

	// Each goes right behind basic_auth, so the last one comes first: the
	// endpoints are never guarded.
	httpcaddyfile.RegisterDirectiveOrder("device_auth", httpcaddyfile.After, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("device_login", httpcaddyfile.After, "basic_auth")
}
