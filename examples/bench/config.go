package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// A gateway is a running one, with the addresses that it serves.
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

// newGateway chooses addresses and directories, and starts nothing: a store may be
// prepared first. Lines go into the block of device_login; without a store among them
// it is Badger.
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
	// The default would do as well; where the store is has to be known, to prepare it.
	if !strings.Contains(strings.Join(lines, "\n"), "store ") {
		lines = append(lines, "store badger "+g.store)
	}
	g.text = strings.NewReplacer("ADMIN", g.admin, "ISSUER", g.issuer, "IDP", "http://localhost:"+ports[2],
		"BACKEND", b.backend, "LINES", strings.Join(lines, "\n\t\t")).Replace(gatewayCaddyfile)
	return g, nil
}

// gatewayCaddyfile is a gateway as the README has it, with room for as many codes as
// one machine asks for here. Tokens and codes outlast the run.
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

// idp is the demo's identity provider, for sections in which people sign in. In the
// others the upstream is not there.
const idp = `IDP {
	demo_idp {
		issuer IDP
		client gateway only-for-this-run ISSUER/device/callback
	}
}
`

// withPeople adds the identity provider.
func (g *gateway) withPeople() {
	// Where the provider is to be stands in the gateway's part already.
	_, after, _ := strings.Cut(g.text, "upstream demo ")
	provider, _, _ := strings.Cut(after, " ")
	g.text += strings.NewReplacer("ISSUER", g.issuer, "IDP", provider).Replace(idp)
}

// start runs the gateway until the section stops it.
// It answers with its keys when the store is open; before that it says 503.
func (g *gateway) start(ctx context.Context, binary string) (err error) {
	g.Server, err = loadtest.StartCaddy(ctx, binary, g.dir, g.text, g.issuer+"/oauth2/jwks")
	return err
}

// startGateway starts a gateway with nothing in its store, and returns when it serves. The
// caller stops it.
func (b *bench) startGateway(ctx context.Context, lines ...string) (*gateway, error) {
	g, err := b.newGateway(lines...)
	if err != nil {
		return nil, err
	}
	return g, g.start(ctx, b.binary)
}

// A plain is a Caddy without the device login: the floor. It is a process of its own, so
// that its garbage collector has no grants to walk through.
type plain struct {
	*loadtest.Server
	proxy   string // host and port: reverse_proxy of the backend
	forward string // the same behind forward_auth to a server that always says yes
	static  string // respond with the body
}

// startPlain starts one, with the binary of the gateway or with that of Caddy alone. The
// status and body are those that its third site responds with.
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

// plainCaddyfile has the three floors. Its proxy has the matcher of the gateway's.
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

// dialed is where connections to a host of this machine go, without a look-up of its
// name.
func dialed(host string) string { return strings.Replace(host, "localhost", "127.0.0.1", 1) }
