package caddymodule

import (
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/routes"
	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
)

// sites is an internal app without options. After everything is provisioned it walks
// through all routes of all servers to find the guards, because a handler in Caddy
// does not know which routes contain it. It derives warnings, the metadata of each
// site, and whether there are error routes.
type sites struct {
	ctx  caddy.Context
	log  *zap.Logger
	once *sync.Once

	faults *sampling.Sampler[string] // of outages, by issuer
	guards []*routedGuard            // of all servers
	found  map[*Guard]*routedGuard   // the same
}

// A routedGuard is a guard with its position in a server.
type routedGuard struct {
	routes.Position
	guard  *Guard
	server *caddyhttp.Server
	// It receives only requests for its block, and no handler is for the rest of its site,
	// which would serve the metadata.
	enclosed bool
}

// CaddyModule returns the module's registration.
func (sites) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "device_auth", New: func() caddy.Module { return &sites{once: new(sync.Once)} }}
}

// Provision implements caddy.Provisioner.
func (s *sites) Provision(ctx caddy.Context) error {
	s.ctx, s.log = ctx, ctx.Logger()
	s.faults = sampling.Outages(func(issuer string, n int) {
		s.log.Error(cannotDecide, zap.String("issuer", issuer), zap.Int("more", n))
	})
	return nil
}

// cannotDecide is the log message of an outage at a guard.
const cannotDecide = "a guard cannot decide, and answers 503"

// fault logs a request about which a guard could not decide. During an outage it logs
// the first, and then once a minute the number of further ones.
func (s *sites) fault(issuer string, err error) {
	if s.faults.Pass(issuer) {
		s.log.Error(cannotDecide, zap.String("issuer", issuer), zap.Error(err))
	}
}

// Cleanup implements caddy.CleanerUpper.
func (s *sites) Cleanup() error {
	if s.faults != nil {
		s.once.Do(s.inspect) // for its warnings, if the configuration was only validated
		s.faults.Close()
	}
	return nil
}

// Start walks through the routes, which logs the warnings.
func (s *sites) Start() error {
	s.once.Do(s.inspect)
	return nil
}

// Stop implements caddy.App.
func (*sites) Stop() error { return nil }

// findSites returns the app, which needs no configuration. Caddy creates it for the
// first handler that calls it.
func findSites(ctx caddy.Context) (*sites, error) {
	app, err := ctx.App("device_auth")
	if err != nil {
		return nil, err
	}
	return app.(*sites), nil
}

// unrouted has the position of a guard that was not found.
var unrouted = new(routedGuard)

// of returns a guard with its position, or unrouted for one in a named route. The result must
// not be changed.
func (s *sites) of(g *Guard) *routedGuard {
	s.once.Do(s.inspect)
	if found := s.found[g]; found != nil {
		return found
	}
	return unrouted
}

// inspect walks through the routes of all servers. It must run after all of them are
// provisioned, when matchers and handlers exist.
func (s *sites) inspect() {
	s.found = map[*Guard]*routedGuard{}
	app, err := s.ctx.AppIfConfigured("http")
	if err != nil {
		return
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		var guards []*routedGuard
		described := map[string]bool{}
		// A handler without matchers around it, on the same host or on all hosts,
		// serves the site's metadata: a guard, or one of two handlers for that.
		routes.Walk(server.Routes, func(at routes.Position, h caddyhttp.MiddlewareHandler) {
			switch h := h.(type) {
			case *Guard:
				guards = append(guards, &routedGuard{Position: at, guard: h, server: server})
			case *Site, *Endpoints:
			default:
				return
			}
			described[at.Host] = described[at.Host] || !at.BehindMatcher
		})
		for _, g := range guards {
			g.enclosed = g.BehindMatcher && !described[g.Host] && !described[""]
			s.found[g.guard] = g
			log := s.log.With(zap.String("server", name), zap.String("site", g.Host))
			g.warn(log)
			g.warnUndescribed(log)
		}
		s.guards = append(s.guards, guards...)
	}
}

// warn warns of a guard that protects nothing, or less than it seems to.
func (g *routedGuard) warn(log *zap.Logger) {
	switch {
	case g.Preceded:
		log.Warn("a device_auth is never reached: what stands before it answers every request")
	case !g.Followed:
		log.Warn("a device_auth guards nothing: nothing behind it answers, such as reverse_proxy")
	case g.enclosed:
		log.Warn("a device_auth stands in a route with matchers, and nothing covers the rest of its site: " +
			"there identity headers and cookies reach the backend; " +
			"put the matchers into the guard, or a device_auth_site before it")
	}
}

var (
	_ caddy.App          = (*sites)(nil)
	_ caddy.Provisioner  = (*sites)(nil)
	_ caddy.CleanerUpper = (*sites)(nil)
)
