// Command caddy is Caddy with the device login and the parts of its demo: an
// identity provider and a page that plays a device. It is what `go run ./caddy
// run` starts with the Caddyfile beside it. Production builds have the module
// alone: see xcaddy.sh.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/deviceauth/caddy-deviceauth/caddymodule"
	_ "github.com/deviceauth/caddy-deviceauth/examples/demoidp"
	_ "github.com/deviceauth/caddy-deviceauth/examples/gadget"
)

func main() { caddycmd.Main() }
