package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// A gateway is the process of a gateway, with its addresses and directories.
type gateway struct {
	*loadtest.Server
	host   string // host and port, as requests name it
	addr   string // where connections go
	issuer string
	admin  string // host and port of the admin endpoint
	store  string // directory of its Badger
	dir    string // its home
	text   string // its Caddyfile
}

// newGateway chooses addresses and directories. It does not start the gateway, so
// that its store can be prepared first. lines are added to the block device_login; if
// none of them sets a store, it is Badger.
func (b *bench) newGateway(lines ...string) (*gateway, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	ports := loadtest.FreePorts(3) // the gateway, its admin endpoint, the identity provider
	g := &gateway{
		dir: dir, store: filepath.Join(dir, "store"), host: "localhost:" + ports[0], addr: "127.0.0.1:" + ports[0],
		issuer: "http://localhost:" + ports[0], admin: "localhost:" + ports[1],
	}
	// The directory must be known to prepare the store, so the default is not used.
	if !strings.Contains(strings.Join(lines, "\n"), "store ") {
		lines = append(lines, "store badger "+g.store)
	}
	g.text = strings.NewReplacer("ADMIN", g.admin, "ISSUER", g.issuer, "IDP", "http://localhost:"+ports[2],
		"BACKEND", b.backend, "LINES", strings.Join(lines, "\n\t\t")).Replace(gatewayCaddyfile)
	return g, nil
}

// gatewayCaddyfile is the configuration of a gateway as in the README. Its limits of
// pending codes are high enough for requests from a single machine, and tokens and
// codes outlast the run.
const gatewayCaddyfile = `{
	admin ADMIN
	default_bind 127.0.0.1
	device_login {
		issuer ISSUER
		upstream demo IDP {
			client_id gateway
			client_secret only-for-this-run
			scopes openid profile email groups
			user preferred_username
		}
		client ` + loadtest.Client + ` {
			name "Cool Gadget"
			scopes ` + loadtest.Scope + `
		}
		pending address 10000000
		pending client 10000000
		pending total 10000000
		lifetime device_code 1h
		lifetime access_token 12h
		LINES
	}
}
ISSUER {
	device_login
	device_auth /api/* products:read
	reverse_proxy /api/* BACKEND
}
`

// idp is the demo's identity provider, for sections in which people sign in. In
// other sections the upstream is not running.
const idp = `IDP {
	demo_idp {
		issuer IDP
		client gateway only-for-this-run ISSUER/device/callback
	}
}
`

// withPeople adds the identity provider.
func (g *gateway) withPeople() {
	// The configuration of the gateway already has the provider's address.
	_, after, _ := strings.Cut(g.text, "upstream demo ")
	provider, _, _ := strings.Cut(after, " ")
	g.text += strings.NewReplacer("ISSUER", g.issuer, "IDP", provider).Replace(idp)
}

// start starts the gateway, which the section must stop, and waits until it
// responds with its keys. Until its store is open it responds with 503.
func (g *gateway) start(ctx context.Context, binary string) (err error) {
	g.Server, err = loadtest.StartCaddy(ctx, binary, g.dir, g.text, g.issuer+"/oauth2/jwks")
	return err
}

// startGateway starts a gateway with an empty store, and returns when it responds. The
// caller must stop it.
func (b *bench) startGateway(ctx context.Context, lines ...string) (*gateway, error) {
	g, err := b.newGateway(lines...)
	if err != nil {
		return nil, err
	}
	return g, g.start(ctx, b.binary)
}

// A plain is a Caddy without the device login, with which the gateway is compared. It is
// a separate process, so that its garbage collector has no grants to examine.
type plain struct {
	*loadtest.Server
	proxy   string // host and port: reverse_proxy of the backend
	forward string // the same behind forward_auth to a server that always says yes
	static  string // respond with the body
}

// startPlain starts a plain Caddy, with the binary of the gateway or with one without the
// module. Its third site responds with status and body.
func (b *bench) startPlain(ctx context.Context, binary string, status int, body []byte) (*plain, error) {
	dir, err := b.directory()
	if err != nil {
		return nil, err
	}
	ports := loadtest.FreePorts(4) // three sites, and the admin endpoint
	p := &plain{proxy: "localhost:" + ports[0], forward: "localhost:" + ports[1], static: "localhost:" + ports[2]}
	text := strings.NewReplacer("ADMIN", "localhost:"+ports[3], "PROXY", p.proxy, "FORWARD", p.forward, "STATIC",
		p.static, "BACKEND", b.backend, "STATUS", fmt.Sprint(status), "BODY", string(body)).Replace(plainCaddyfile)
	p.Server, err = loadtest.StartCaddy(ctx, binary, dir, text, "http://"+p.proxy+"/api/")
	return p, err
}

// plainCaddyfile has three sites. Its proxy has the same matcher as the gateway's.
const plainCaddyfile = `{
	admin ADMIN
	default_bind 127.0.0.1
}
http://PROXY {
	reverse_proxy /api/* BACKEND
}
http://FORWARD {
	forward_auth BACKEND {
		uri /yes
	}
	reverse_proxy /api/* BACKEND
}
http://STATIC {
	header Content-Type application/json
	respond ` + "`BODY`" + ` STATUS
}
`

// dialed returns the address to connect to for a host on this machine, so that its name
// need not be looked up.
func dialed(host string) string { return strings.Replace(host, "localhost", "127.0.0.1", 1) }
