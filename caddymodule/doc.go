// Package caddymodule integrates the gateway into Caddy; only it and the packages below
// it depend on Caddy. The app device_login owns the engine, its store, its keys and its
// upstreams; the handlers device_login and device_auth add the endpoints and the guard
// to sites. The package makes no decisions about grants.
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

	// Each is inserted directly after basic_auth, so the one registered last comes
	// first: the endpoints are never guarded.
	httpcaddyfile.RegisterDirectiveOrder("device_auth", httpcaddyfile.After, "basic_auth")
	httpcaddyfile.RegisterDirectiveOrder("device_login", httpcaddyfile.After, "basic_auth")
}
