// Package routes says where a handler is among the routes of a server of Caddy, since a
// handler does not know which routes contain it: for which host, behind which matchers, and
// what may respond before and after it. It decides which requests may reach a handler by
// their host and path, and so which guards a site's metadata name, and whether there is an
// error route for a request. All routes must be provisioned. It cannot follow named routes.
// It does not know what a guard is, or what its tokens are: package caddymodule calls it,
// and also derives warnings from it.
package routes

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/rewrite"
)

// A Position is where a handler is in its server.
type Position struct {
	Host          string // of its site, or several separated by spaces; empty: every host
	BehindMatcher bool   // a route around it has a matcher other than for hosts
	Grouped       bool   // it is in one of several mutually exclusive blocks
	Preceded      bool   // a handler before it answers every request
	Followed      bool   // a handler after it may respond
	OwnErrors     bool   // a block around it has error routes

	routes   []caddyhttp.Route // around it, the outermost first
	stripped string            // removed by handle_path from the paths that reach it
}

// IsOnSite reports whether the handler is on the site of a request, that is, whether
// the host matchers of all its routes match. It ignores other matchers.
func (p Position) IsOnSite(r *http.Request) bool {
	for _, route := range p.routes {
		if !coversHost(route.MatcherSets, r) {
			return false
		}
	}
	return true
}

// MayHandle reports whether a request for a path, or for something below it, may reach the
// handler and match its own matcher sets. These see the path without the prefix that
// handle_path removes; without own sets every request matches.
func (p Position) MayHandle(r *http.Request, path string, own caddyhttp.MatcherSets) bool {
	for _, route := range p.routes {
		if !coversPath(route.MatcherSets, r, path) {
			return false
		}
	}
	// A path without the prefix is above it, so the handler sees any path.
	seen, found := strings.CutPrefix(path, p.stripped)
	return !found || coversPath(own, r, seen)
}

// Walk calls a function for each handler of a server's routes, with its position. It follows
// subroutes, in the order in which a request would reach the handlers.
func Walk(routes caddyhttp.RouteList, each func(Position, caddyhttp.MiddlewareHandler)) {
	walk(routes, Position{}, each)
}

// walk is Walk for the routes of a server or of a subroute in a certain position.
func walk(routes caddyhttp.RouteList, in Position, each func(Position, caddyhttp.MiddlewareHandler)) {
	for i, route := range routes {
		// A subroute's handlers have all surroundings of the subroute.
		at := in
		at.routes = append(slices.Clone(in.routes), route)
		at.BehindMatcher = in.BehindMatcher || hasMatchers(route)
		at.Grouped = in.Grouped || route.Group != ""
		if hosts := hostsOf(route); hosts != "" {
			at.Host = hosts
		}
		at.Followed = !route.Terminal && (in.Followed || mayRespond(routesAfter(route, routes[i+1:])))
		for j, h := range route.Handlers {
			// After a handler come the rest of its own route and the following
			// routes.
			here := at
			here.Followed = at.Followed || mayRespond(caddyhttp.RouteList{{Handlers: route.Handlers[j+1:]}})
			each(here, h)
			if rewriting, ok := h.(*rewrite.Rewrite); ok {
				in.stripped += rewriting.StripPathPrefix // handle_path is such a rewrite and a subroute
				at.stripped = in.stripped
			}
			if sub, ok := h.(*caddyhttp.Subroute); ok {
				within := here
				within.OwnErrors = here.OwnErrors || sub.Errors != nil && len(sub.Errors.Routes) > 0
				walk(sub.Routes, within, each)
			}
			if responds(h) { // later handlers of this route are never reached
				at.Preceded = true
			}
		}
		// Only a route that every request enters keeps requests from later routes.
		if at.Preceded && len(route.MatcherSets) == 0 && route.Group == "" {
			in.Preceded = true
		}
	}
}

// hasMatchers reports whether a route has a matcher other than for hosts.
func hasMatchers(route caddyhttp.Route) bool {
	for _, set := range route.MatcherSets {
		for _, m := range set {
			if _, ok := m.(*caddyhttp.MatchHost); !ok {
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
		for _, m := range set {
			if host, ok := m.(*caddyhttp.MatchHost); ok {
				hosts = append(hosts, *host...)
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

// Reaches reports whether a request reaches a handler of the routes. A matcher that
// fails counts as matching, since Caddy would then run an error route, too.
func Reaches(routes caddyhttp.RouteList, r *http.Request) bool {
	for _, route := range routes {
		if matched, err := route.MatcherSets.AnyMatchWithError(r); !matched && err == nil {
			continue
		}
		for _, h := range route.Handlers {
			if sub, ok := h.(*caddyhttp.Subroute); !ok || Reaches(sub.Routes, r) {
				return true
			}
		}
	}
	return false
}
