package caddymodule

import (
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
	"go.uber.org/zap"

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

	enclosed map[*Guard]bool // receives only requests for its block, and no other handler serves the site's metadata
	inBlock  map[*Guard]bool // receives only some requests of its site

	faults       *sampling.Sampler[string] // of outages, by issuer
	ownErrors    map[*Guard]bool           // is in a block with its own error routes
	routedGuards []routedGuard             // the guards of all servers
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

// inspect walks through the routes of all servers. It must run after all of them are
// provisioned, when matchers and handlers exist.
func (s *sites) inspect() {
	s.enclosed, s.inBlock, s.ownErrors = map[*Guard]bool{}, map[*Guard]bool{}, map[*Guard]bool{}
	app, err := s.ctx.AppIfConfigured("http")
	if err != nil {
		return
	}
	for name, server := range app.(*caddyhttp.App).Servers {
		var all []*siteContext
		described := map[string]bool{}
		// Handlers are distinguished by type: a guard, and the two handlers that
		// serve the metadata of a whole site.
		walk(server.Routes, siteContext{}, func(at siteContext, h caddyhttp.MiddlewareHandler) {
			s.record(server, at, h)
			switch h := h.(type) {
			case *Guard:
				at.guard = h
				all = append(all, &at)
				described[at.host] = described[at.host] || !at.enclosed
			case *Site, *Endpoints:
				described[at.host] = described[at.host] || !at.enclosed
			}
		})
		for _, at := range all {
			// A handler without matchers around it, on the same host or on all hosts,
			// serves the site's metadata.
			alone := !described[at.host] && !described[""]
			s.enclosed[at.guard], s.inBlock[at.guard] = at.enclosed && alone, at.enclosed || at.grouped
			s.ownErrors[at.guard] = at.errors
			at.uncovered = at.enclosed && alone
			log := s.log.With(zap.String("server", name), zap.String("site", at.host))
			at.warn(log)
			at.warnUndescribed(log)
		}
	}
}

// A siteContext is the surroundings of a handler in its server.
type siteContext struct {
	guard     *Guard
	host      string // of its site; empty: every host
	enclosed  bool   // a route around it has a matcher other than for hosts
	grouped   bool   // it is in one of several mutually exclusive blocks
	uncovered bool   // no guard covers the rest of its site
	preceded  bool   // a handler before it answers every request
	followed  bool   // a handler after it may respond

	routes   []caddyhttp.Route // around it, the outermost first
	errors   bool              // a block around it has error routes
	stripped string            // removed by handle_path from the paths that reach it
}

// warn warns of a guard that protects nothing, or less than it seems to.
func (at *siteContext) warn(log *zap.Logger) {
	switch {
	case at.preceded:
		log.Warn("a device_auth is never reached: what stands before it answers every request")
	case !at.followed:
		log.Warn("a device_auth guards nothing: nothing behind it answers, such as reverse_proxy")
	case at.uncovered:
		log.Warn("a device_auth stands in a route with matchers, and nothing covers the rest of its site: " +
			"there identity headers and cookies reach the backend; " +
			"put the matchers into the guard, or a device_auth_site before it")
	}
}

// walk calls a function for each handler of the routes, with the handler's
// surroundings. It follows subroutes, in the order in which a request would reach the
// handlers.
func walk(routes caddyhttp.RouteList, in siteContext, each func(siteContext, caddyhttp.MiddlewareHandler)) {
	for i, route := range routes {
		// A subroute's handlers have all surroundings of the subroute.
		at := in
		at.routes = append(slices.Clone(in.routes), route)
		at.enclosed, at.grouped = in.enclosed || hasMatchers(route), in.grouped || route.Group != ""
		if hosts := hostsOf(route); hosts != "" {
			at.host = hosts
		}
		at.followed = !route.Terminal && (in.followed || mayRespond(routesAfter(route, routes[i+1:])))
		for j, h := range route.Handlers {
			// After a handler come the rest of its own route and the following
			// routes.
			here := at
			here.followed = at.followed || mayRespond(caddyhttp.RouteList{{Handlers: route.Handlers[j+1:]}})
			each(here, h)
			if rewriting, ok := h.(*rewrite.Rewrite); ok {
				in.stripped += rewriting.StripPathPrefix // handle_path is such a rewrite and a subroute
				at.stripped = in.stripped
			}
			if sub, ok := h.(*caddyhttp.Subroute); ok {
				within := here
				within.errors = here.errors || sub.Errors != nil && len(sub.Errors.Routes) > 0
				walk(sub.Routes, within, each)
			}
			if responds(h) { // later handlers of this route are never reached
				at.preceded = true
			}
		}
		// Only a route that every request enters keeps requests from later routes.
		if at.preceded && len(route.MatcherSets) == 0 && route.Group == "" {
			in.preceded = true
		}
	}
}

// hasMatchers reports whether a route has a matcher other than for hosts.
func hasMatchers(route caddyhttp.Route) bool {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if _, ok := matcher.(*caddyhttp.MatchHost); !ok {
				return true
			}
		}
	}
	return false
}

// hostsOf returns the host names that a route matches, separated by spaces.
func hostsOf(route caddyhttp.Route) string {
	var hosts []string
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			if m, ok := matcher.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *m...)
			}
		}
	}
	return strings.Join(hosts, " ")
}

// responders are handlers that respond to every request. Handlers of other modules
// may do so, too, which is not known.
var responders = map[caddy.ModuleID]bool{
	"http.handlers.reverse_proxy": true, "http.handlers.static_response": true, "http.handlers.error": true,
}

// responds reports whether a handler responds to every request that reaches it.
func responds(h caddyhttp.MiddlewareHandler) bool {
	module, ok := h.(caddy.Module)
	return ok && responders[module.CaddyModule().ID]
}

// passThrough are handlers that always call the next handler.
var passThrough = map[caddy.ModuleID]bool{
	"http.handlers.device_auth": true, "http.handlers.device_auth_site": true, "http.handlers.device_login": true,
	"http.handlers.headers": true, "http.handlers.rewrite": true, "http.handlers.vars": true, "http.handlers.map": true,
	"http.handlers.encode": true, "http.handlers.log_append": true, "http.handlers.request_body": true,
	"http.handlers.tracing": true, "http.handlers.authentication": true,
}

// routesAfter returns the routes that a request may still enter after a route. In a
// group, such as the handle blocks of a site, a request enters only one route.
func routesAfter(route caddyhttp.Route, routes caddyhttp.RouteList) (list caddyhttp.RouteList) {
	for _, other := range routes {
		if route.Group == "" || other.Group != route.Group {
			list = append(list, other)
		}
	}
	return list
}

// mayRespond reports whether a handler of the routes may respond, as any handler of
// an unknown module may.
func mayRespond(routes caddyhttp.RouteList) bool {
	for _, route := range routes {
		for _, h := range route.Handlers {
			// A handler of an unknown module may respond; a subroute responds if a
			// handler in it does.
			if sub, ok := h.(*caddyhttp.Subroute); ok && mayRespond(sub.Routes) {
				return true
			} else if module, known := h.(caddy.Module); !ok && (!known || !passThrough[module.CaddyModule().ID]) {
				return true
			}
		}
	}
	return false
}

var (
	_ caddy.App          = (*sites)(nil)
	_ caddy.Provisioner  = (*sites)(nil)
	_ caddy.CleanerUpper = (*sites)(nil)
)
