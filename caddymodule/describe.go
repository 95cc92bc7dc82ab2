package caddymodule

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// Protected resource metadata (RFC 9728): a document with which a client finds the
// authorization server of a guarded site.

// originalPath returns the path of a request as the client sent it, including the
// prefix that handle_path removed.
func originalPath(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if ok && strings.HasSuffix(original.URL.Path, r.URL.Path) {
		return original.URL.Path
	}
	return r.URL.Path
}

// describes reports whether a request is for the metadata of a resource that the
// guard guards, and returns the path of that resource. A guard in a block serves the
// metadata below the block, at /api/.well-known/oauth-protected-resource, if the
// block does not receive requests for the site's own well-known path.
func (g *Guard) describes(r *http.Request) (path string, ok bool) {
	whole := originalPath(r)
	if guard.IsMetadataPath(whole) {
		return strings.TrimPrefix(whole, guard.ResourceMetadataPath), true
	}
	path, ok = strings.CutSuffix(whole, guard.ResourceMetadataPath)
	return path, ok && g.isEnclosed()
}

// isEnclosed reports whether the guard receives only requests for its block, on a
// site whose metadata no other handler serves.
func (g *Guard) isEnclosed() bool { return g.sites.of(g).enclosed }

// isInBlock reports whether the guard receives only some requests of the site.
func (g *Guard) isInBlock() bool {
	at := g.sites.of(g)
	return at.BehindMatcher || at.Grouped
}

// describe answers a request for metadata of the guard's site, and reports whether it
// did.
func (g *Guard) describe(w http.ResponseWriter, r *http.Request) bool {
	path, ok := g.describes(r)
	if !ok {
		return false
	}
	about := *withForwardedProto(r)
	about.URL = &url.URL{Path: guard.ResourceMetadataPath + path, RawQuery: r.URL.RawQuery}
	resource := g.sites.resource(r, path)
	if len(resource.Servers) == 0 { // named routes are not walked, so their guards are not found
		issuer, audience := g.tokens()
		resource = guard.Resource{
			Servers: []string{issuer}, Scope: deviceauth.NewScope(g.Scopes...), Audience: audience,
		}
	}
	resource.ServeHTTP(w, &about)
	return true
}

// challengedRequest returns the request for which a challenge is written: the
// resource_metadata URL (RFC 9728 §5.1) is that of the path as the client sent it,
// including the prefix that handle_path removed.
func (g *Guard) challengedRequest(r *http.Request) *http.Request {
	r = withForwardedProto(r)
	whole := originalPath(r)
	if enclosed := g.isEnclosed(); enclosed || whole != r.URL.Path {
		block := strings.TrimSuffix(whole, r.URL.Path)
		if block == "" {
			block = strings.TrimSuffix(whole, "/")
		}
		r = guard.WithResource(r, guard.AskedResource{Path: whole, Enclosed: enclosed, Block: block})
	}
	return r
}

// warnUndescribed warns of a guard whose tokens have no audience on its own site. A
// client must not use metadata whose resource is not the URL that it requested (RFC
// 9728 §3.3), so such a client would never find the server.
func (g *routedGuard) warnUndescribed(log *zap.Logger) {
	if g.Host == "" || strings.ContainsAny(g.Host, "*{") {
		return
	}
	_, audience := g.guard.tokens()
	for _, a := range audience {
		if u, err := url.Parse(a); err == nil && slices.Contains(strings.Fields(g.Host), u.Hostname()) {
			return
		}
	}
	first := strings.Fields(g.Host)[0]
	log.Warn("clients do not find the server by the URL of a guarded site (RFC 9728), "+
		"because tokens are for no URL of it: add one to the audiences, such as: audience https://"+first,
		zap.Strings("audiences", audience))
}

// resource returns the metadata of a path of the requested site: which authorization
// servers guard the path, and the audiences and scopes of tokens. Only guards of this
// site count, and for scopes only those that guard the path itself or something below
// it.
func (s *sites) resource(r *http.Request, path string) (about guard.Resource) {
	s.once.Do(s.inspect)
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	var scopes, all []string
	for _, p := range s.guards {
		if p.server != server || !p.IsOnSite(r) {
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

// appendNew appends the strings that the list does not contain yet.
func appendNew(list []string, more ...string) []string {
	for _, s := range more {
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// tokens returns the issuer and the audiences of the tokens that the guard accepts.
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

// issuer returns the issuer URL of the guard's authorization server.
func (g *Guard) issuer() string {
	if g.Edge != nil {
		return g.Edge.Issuer
	}
	return g.app.Issuer
}

// covers reports whether the guard guards a path, or something below it. It ignores
// methods, headers and the like: the metadata are those of a resource, not of a
// request.
func (g *routedGuard) covers(r *http.Request, path string) bool {
	return g.MayHandle(r, path, g.guard.matcher.Sets())
}
