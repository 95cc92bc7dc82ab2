package caddymodule

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// Where a guard's site is described (RFC 9728).

// describesResource reports whether a request is for the description of a site.
func describesResource(r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, guard.ResourceMetadataPath)
	return ok && (rest == "" || rest[0] == '/')
}

// wholePath is the path of a request as its client wrote it, where a handle_path
// has taken off its beginning.
func wholePath(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok && strings.HasSuffix(original.URL.Path, r.URL.Path) {
		return original.URL.Path
	}
	return r.URL.Path
}

// describes reports whether a request is for the description of what the guard
// guards, and the path of that. A guard in a block describes it there, if nobody
// else describes the site: /api/.well-known/oauth-protected-resource.
func (g *Guard) describes(r *http.Request) (path string, ok bool) {
	if !strings.Contains(r.URL.Path, guard.ResourceMetadataPath) {
		return "", false
	}
	whole := wholePath(r)
	if path, ok = strings.CutPrefix(whole, guard.ResourceMetadataPath); ok && (path == "" || path[0] == '/') {
		return path, true
	}
	path, ok = strings.CutSuffix(whole, guard.ResourceMetadataPath)
	return path, ok && g.isEnclosed()
}

func (g *Guard) isEnclosed() bool {
	g.sites.once.Do(g.sites.look)
	return g.sites.enclosed[g]
}

func (g *Guard) isInBlock() bool {
	g.sites.once.Do(g.sites.look)
	return g.sites.inBlock[g]
}

// describe answers with the description.
func (g *Guard) describe(w http.ResponseWriter, r *http.Request, path string) {
	about := *came(r)
	about.URL = &url.URL{Path: guard.ResourceMetadataPath + path, RawQuery: r.URL.RawQuery}
	resource := g.sites.resource(r, path)
	if len(resource.Servers) == 0 { // it stands where the sites cannot see it, such as in a named route
		issuer, audience := g.tokens()
		resource = guard.Resource{Servers: []string{issuer}, Scope: deviceauth.NewScope(g.Scopes...), Audience: audience}
	}
	resource.ServeHTTP(w, &about)
}

// asked is the request as a challenge names it.
func (g *Guard) asked(r *http.Request) *http.Request {
	r = came(r)
	whole := wholePath(r)
	if enclosed := g.isEnclosed(); enclosed || whole != r.URL.Path {
		block := strings.TrimSuffix(whole, r.URL.Path)
		if block == "" {
			block = strings.TrimSuffix(whole, "/")
		}
		r = guard.WithResource(r, guard.AskedResource{Path: whole, Enclosed: enclosed, Block: block})
	}
	return r
}

// warnUndescribed tells of a guard whose tokens are for no URL of its site: by
// RFC 9728 a client then finds the server of no request there.
func (at *siteContext) warnUndescribed(log *zap.Logger) {
	if at.host == "" || strings.ContainsAny(at.host, "*{") {
		return
	}
	_, audience := at.guard.tokens()
	for _, a := range audience {
		if u, err := url.Parse(a); err == nil && slices.Contains(strings.Fields(at.host), u.Hostname()) {
			return
		}
	}
	first := strings.Fields(at.host)[0]
	log.Warn("clients do not find the server by the URL of a guarded site (RFC 9728), because tokens are for no URL of it: add one to the audiences, such as: audience https://"+first,
		zap.Strings("audiences", audience))
}

// A placedGuard is a guard with what stands around it.
type placedGuard struct {
	guard    *Guard
	server   *caddyhttp.Server
	routes   []caddyhttp.Route // that it is in
	stripped string            // what is taken off the paths that reach it
}

// place notes where a guard stands.
func (s *sites) place(server *caddyhttp.Server, at siteContext, h caddyhttp.MiddlewareHandler) {
	if g, ok := h.(*Guard); ok {
		s.placed = append(s.placed, placedGuard{guard: g, server: server, routes: at.routes, stripped: at.stripped})
	}
}

// resource is what there is to say of a path of the site that a request is for:
// who guards it, and for what tokens. Only the guards of this site count, and
// the scopes of those alone that guard the path or something below it.
func (s *sites) resource(r *http.Request, path string) (about guard.Resource) {
	s.once.Do(s.look)
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	var scopes, all []string
	for _, p := range s.placed {
		if p.server != server || !p.isOnSite(r) {
			continue
		}
		issuer, audience := p.guard.tokens()
		about.Audience = appendNew(about.Audience, audience...)
		all = appendNew(all, issuer)
		if p.covers(r, path) {
			about.Servers = appendNew(about.Servers, issuer)
			scopes = append(scopes, p.guard.Scopes...)
		}
	}
	if about.Scope = deviceauth.NewScope(scopes...); len(about.Servers) == 0 {
		about.Servers = all
	}
	return about
}

func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// tokens are whose tokens the guard takes, and for which audiences.
func (g *Guard) tokens() (issuer string, audience []string) {
	issuer = g.issuer()
	switch {
	case len(g.Audience) > 0:
		return issuer, g.Audience
	case g.Edge == nil && len(g.app.Audience) > 0:
		return issuer, g.app.Audience
	}
	return issuer, []string{issuer}
}

func (g *Guard) issuer() string {
	if g.Edge != nil {
		return g.Edge.Issuer
	}
	return g.app.Issuer
}

// isOnSite reports whether the guard is one of the site that a request is for.
func (p placedGuard) isOnSite(r *http.Request) bool {
	return !slices.ContainsFunc(p.routes, func(route caddyhttp.Route) bool {
		return len(route.MatcherSets) > 0 && !slices.ContainsFunc(route.MatcherSets, func(set caddyhttp.MatcherSet) bool {
			return !slices.ContainsFunc(set, func(m any) bool {
				host, ok := m.(*caddyhttp.MatchHost)
				return ok && !matches(host, r)
			})
		})
	})
}

// covers reports whether the guard guards a path, or something below it. Methods,
// headers and the like do not matter: it is a resource that is described, and no
// request.
func (p placedGuard) covers(r *http.Request, path string) bool {
	for _, route := range p.routes {
		if !anySet(route.MatcherSets, r, path) {
			return false
		}
	}
	within, ok := strings.CutPrefix(path, p.stripped)
	if !ok {
		return true // above all that reaches it: the routes have told that it is below
	}
	if len(p.guard.matcher.sets) == 0 {
		return true
	}
	return slices.ContainsFunc(p.guard.matcher.sets, func(set []readingMatcher) bool {
		return !slices.ContainsFunc(set, func(m readingMatcher) bool { return !mayMatch(m.RequestMatcherWithError, r, within) })
	})
}

func anySet(sets caddyhttp.MatcherSets, r *http.Request, path string) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		return !slices.ContainsFunc(set, func(m any) bool { return !mayMatch(m, r, path) })
	})
}

// mayMatch reports whether a matcher matches some request for a path, or for
// something below it where it is a list of paths.
func mayMatch(matcher any, r *http.Request, path string) bool {
	switch m := matcher.(type) {
	case caddyhttp.MatcherSet:
		return !slices.ContainsFunc(m, func(inner any) bool { return !mayMatch(inner, r, path) })
	case caddyhttp.MatchPath:
		return matches(m, forPath(r, path)) || slices.ContainsFunc(m, func(pattern string) bool { return isBelow(pattern, path) })
	case *caddyhttp.MatchPath:
		return mayMatch(*m, r, path)
	case *caddyhttp.MatchNot:
		return !slices.ContainsFunc(m.MatcherSets, func(set caddyhttp.MatcherSet) bool {
			return !slices.ContainsFunc(set, func(inner any) bool { return !mustMatch(inner, r, path) })
		})
	case *caddyhttp.MatchPathRE, *caddyhttp.MatchExpression:
		return matches(m, forPath(r, path))
	}
	return true
}

// mustMatch reports whether a matcher matches all requests for a path.
func mustMatch(matcher any, r *http.Request, path string) bool {
	switch matcher.(type) {
	case caddyhttp.MatchPath, *caddyhttp.MatchPath, *caddyhttp.MatchPathRE, *caddyhttp.MatchExpression:
		return matches(matcher, forPath(r, path))
	}
	return false
}

// isBelow reports whether all that a pattern matches is below a path.
func isBelow(pattern, path string) bool {
	literal, _, _ := strings.Cut(strings.ToLower(pattern), "*")
	return strings.HasPrefix(literal, strings.ToLower(strings.TrimSuffix(path, "/"))+"/")
}

// forPath is a request for something else than the description.
func forPath(r *http.Request, path string) *http.Request {
	return as(r, r.Method, &url.URL{Path: cmp.Or(path, "/")})
}

// matches asks a matcher; one that cannot say, such as an old one without errors,
// matches.
func matches(matcher any, r *http.Request) bool {
	m, ok := matcher.(caddyhttp.RequestMatcherWithError)
	if !ok {
		return true
	}
	ok, err := m.MatchWithError(r)
	return ok || err != nil
}
