package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/matcher"
	"github.com/deviceauth/caddy-deviceauth/caddymodule/writers"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// Guard passes requests with a valid bearer token to the next handler, and tells the
// backend the identity in Remote-User, Remote-Email, Remote-Name, Remote-Groups,
// Remote-Client and Remote-Scopes, and with several upstreams in Remote-Upstream. It
// removes headers with these names from every request.
//
// In a route without matchers, with its own matchers in match, it sees every request
// of its site: then it removes those headers from all of them, and its matchers apply
// to all spellings of a path.
type Guard struct {
	// The requests that are guarded: those that one of these matcher sets matches in
	// some reading of their path. Default: all.
	MatcherSetsRaw caddyhttp.RawMatcherSets `json:"match,omitempty" caddy:"namespace=http.matchers"`
	// Scopes of which the token must have all.
	Scopes []string `json:"scopes,omitempty"`
	// Audiences of which the token must have one. Default: the server's; with edge
	// only the server's issuer URL, even if the server's own guards accept others.
	Audience []string `json:"audience,omitempty"`
	// Whether to pass requests without credentials, without identity.
	Optional bool `json:"optional,omitempty"`
	// What to do with the header that has the token: strip (default) or keep.
	Authorization string `json:"authorization,omitempty"`
	// The header that has the token, alone or after Bearer, if the backend needs
	// Authorization for itself; Authorization is then left unchanged. Default:
	// Authorization.
	TokenHeader string `json:"token_header,omitempty"`
	// Identity headers in addition to the default ones, or replacing one of them.
	Headers []guard.IdentityHeader `json:"headers,omitempty"`
	// Whether to accept the token as the password of HTTP Basic, too.
	Basic bool `json:"basic,omitempty"`
	// Who answers CORS preflights: the guard (default), or pass: the backend.
	Preflight string `json:"preflight,omitempty"`
	// Cache headers of responses to admitted requests. By default shared caches must
	// not store them: private is added to Cache-Control, and Authorization to Vary.
	// keep: the backend's headers are kept.
	Cache string `json:"cache,omitempty"`
	// Whether to pass requests that would be refused, without identity, and only log
	// and count them. This protects nothing; it shows which clients would be refused.
	ReportOnly bool `json:"report_only,omitempty"`
	// Old API keys that are accepted besides tokens.
	Legacy *Legacy `json:"legacy,omitempty"`
	// The server, if it is in another Caddy. Default: this one's.
	Edge *Edge `json:"edge,omitempty"`

	app    *App         // this Caddy's server
	remote *guard.Guard // for a server in another Caddy
	log    *zap.Logger

	matcher  matcher.Matcher
	pipeline guard.Pipeline
	vary     []string // request headers that the decision depends on; none: caching is left to the backend
	sites    *sites   // information about the site of the guard
}

// CaddyModule returns the module's registration.
func (Guard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.device_auth", New: func() caddy.Module { return new(Guard) }}
}

// Provision prepares the guard, and opens the file of old API keys. A guard with Edge
// uses the server of another Caddy; any other guard registers with this Caddy's app,
// which creates its token guard when it starts.
func (g *Guard) Provision(ctx caddy.Context) (err error) {
	g.log = ctx.Logger()
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	if err := g.matcher.Load(ctx, g.MatcherSetsRaw); err != nil {
		return err
	}
	g.MatcherSetsRaw = nil // as Caddy does with the JSON of modules: nothing reads it any more
	if g.sites, err = findSites(ctx); err != nil {
		return err
	}
	if g.Legacy != nil {
		if err := g.Legacy.open(g.log); err != nil {
			return err
		}
	}
	g.pipeline, g.vary = g.newPipeline(), g.varyOn()
	if g.ReportOnly {
		g.log.Warn("a guard with report_only protects nothing: it lets through what it would refuse")
	}
	if g.Edge != nil {
		server, err := g.Edge.server(g.Audience, g.log)
		if err != nil {
			return err
		}
		g.remote = guard.New(g.config(), server)
		return nil
	}
	if g.app, err = findApp(ctx); err != nil {
		return err
	}
	g.app.guards = append(g.app.guards, g)
	return nil
}

// identityHeader matches permitted names of identity headers: those of RFC 9110 §5.1,
// without characters that proxies treat differently.
var identityHeader = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// nonIdentityHeaders already have a meaning for proxies and backends, and cannot be
// identity headers.
var nonIdentityHeaders = map[string]bool{
	"authorization": true, "connection": true, "content-length": true, "content-type": true, "cookie": true,
	"expect": true, "host": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

// Validate implements caddy.Validator. The Caddyfile parser also calls it after each
// line, for an error with the position of the line.
func (g *Guard) Validate() error {
	if g.Authorization != "" && g.Authorization != "strip" && g.Authorization != "keep" {
		return fmt.Errorf("authorization %q: want strip or keep", g.Authorization)
	}
	if g.Preflight != "" && g.Preflight != "pass" {
		return fmt.Errorf("preflight %q: want pass", g.Preflight)
	}
	if g.Cache != "" && g.Cache != "keep" {
		return fmt.Errorf("cache %q: want keep", g.Cache)
	}
	if err := checkScopes(g.Scopes); err != nil {
		return err
	}
	if err := g.checkTokenHeader(); err != nil {
		return err
	}
	if g.Legacy != nil {
		if err := g.Legacy.check(); err != nil {
			return err
		}
	}
	names := guard.ReservedHeaders{}
	for _, h := range g.Headers {
		if names.Has(h.Name) { // Remote_User and Remote-User are one variable for many servers
			return fmt.Errorf("header %q: duplicate; want each header once", h.Name)
		}
		names.Add(h.Name)
		if h.Name == "" || h.Claim == "" {
			return errors.New("header: want the name of a header and of a claim")
		}
		if !identityHeader.MatchString(h.Name) || nonIdentityHeaders[strings.ToLower(h.Name)] {
			return fmt.Errorf("header %q: want one that tells who asks, such as X-User", h.Name)
		}
	}
	return nil
}

// checkTokenHeader checks that the token header has no other meaning: only guards
// read it, and they remove it.
func (g *Guard) checkTokenHeader() error {
	name := g.TokenHeader
	switch {
	case name == "":
		return nil
	case !identityHeader.MatchString(name) || nonIdentityHeaders[strings.ToLower(name)]:
		return fmt.Errorf("token_header %q: want the name of a header of its own, such as X-Device-Token", name)
	case g.Basic:
		return errors.New("token_header with basic: want one of them, since passwords are in Authorization")
	case g.config().ReservedHeaders().Has(name), g.Legacy != nil && strings.EqualFold(g.Legacy.Header, name):
		return fmt.Errorf("token_header %q: the header has another meaning here; "+
			"want one of its own, such as X-Device-Token", name)
	}
	return nil
}

// checkScope refuses a scope that looks like a second matcher: the directive takes
// one matcher, and then scopes.
func checkScope(scope string) error {
	if scope == "*" || strings.HasPrefix(scope, "/") || strings.HasPrefix(scope, "@") {
		return fmt.Errorf("scope %q: there is one matcher, and what follows it are scopes, such as products:read; "+
			"for several paths name a matcher: @api path /a/* /b/*", scope)
	}
	return nil
}

// checkScopes checks the scopes of a guard, in the Caddyfile and in JSON.
func checkScopes(scopes []string) error {
	for _, scope := range scopes {
		if err := checkScope(scope); err != nil {
			return err
		}
	}
	return checkScopeNames(scopes)
}

// config converts the JSON fields to options of package guard. With report_only all
// preflights are passed to the backend, because the guard must not answer any request
// then.
func (g *Guard) config() guard.Options {
	return guard.Options{
		Need:     deviceauth.Requirement{Audience: g.Audience, Scope: deviceauth.NewScope(g.Scopes...)},
		Optional: g.Optional, KeepToken: g.Authorization == "keep", Basic: g.Basic,
		PassPreflight: g.Preflight == "pass" || g.ReportOnly, Headers: g.Headers, TokenHeader: g.TokenHeader,
	}
}

// credentials returns the name of the header that has the token.
func (g *Guard) credentials() string { return cmp.Or(g.TokenHeader, "Authorization") }

// varyOn returns the request headers on which the decision depends, for caches. With
// `cache keep` there are none: caching is left to the backend.
func (g *Guard) varyOn() (headers []string) {
	switch {
	case g.Cache == "keep":
		return nil
	case g.Legacy != nil:
		return []string{g.credentials(), g.Legacy.Header}
	}
	return []string{g.credentials()}
}

// wrapResponse returns the writer for a backend's response, or nil if there is
// nothing to add. With `cache keep` the cache headers are only the backend's.
func (g *Guard) wrapResponse(identity *requestIdentity, w http.ResponseWriter, origin string) http.ResponseWriter {
	private := identity.Identity != nil
	if len(g.vary) > 0 {
		identity.private = identity.private || private
	} else if origin == "" {
		return nil
	}
	return writers.Headers{Origin: origin, Vary: g.vary, Private: private}.Writer(w)
}

var (
	_ caddyhttp.MiddlewareHandler = (*Guard)(nil)
	_ caddy.Provisioner           = (*Guard)(nil)
	_ caddy.Validator             = (*Guard)(nil)
)
