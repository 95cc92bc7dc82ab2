package caddymodule

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// Guard lets requests with a valid bearer token through, and tells the
// backend who asks in Remote-User, Remote-Email, Remote-Name, Remote-Groups,
// Remote-Client and Remote-Scopes, whatever the request said under these names.
type Guard struct {
	// Scopes that the token must have, all of them.
	Scopes []string `json:"scopes,omitempty"`
	// Audiences of which the token must have one. Default: the server's; with
	// edge the server's issuer URL alone, whatever its own guards accept.
	Audience []string `json:"audience,omitempty"`
	// Let requests without credentials through, without identity.
	Optional bool `json:"optional,omitempty"`
	// What becomes of the Authorization header: strip (default) or keep.
	Authorization string `json:"authorization,omitempty"`
	// Identity headers beside the default ones, or renaming one of them.
	Headers []httpapi.IdentityHeader `json:"headers,omitempty"`
	// Also accept the token as the password of HTTP Basic.
	Basic bool `json:"basic,omitempty"`
	// Who answers CORS preflights: the guard (default), or pass: the backend.
	Preflight string `json:"preflight,omitempty"`
	// Let through what would be refused, without identity, and log and count
	// it. It protects nothing: it is for finding out who would be shut out.
	ReportOnly bool `json:"report_only,omitempty"`
	// Old API keys that are let through beside tokens.
	Legacy *Legacy `json:"legacy,omitempty"`
	// The server, where that is another Caddy. Default: this one's.
	Edge *Edge `json:"edge,omitempty"`

	app    *App             // this Caddy's server
	sentry *httpapi.Sentry  // of a server elsewhere
	site   httpapi.Resource // that one's
	owned  httpapi.Owned
	log    *zap.Logger
}

// CaddyModule returns the module's registration.
func (Guard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.device_auth", New: func() caddy.Module { return new(Guard) }}
}

// Provision finds the server. The app of this Caddy is told of the guard.
func (g *Guard) Provision(ctx caddy.Context) (err error) {
	g.log, g.owned = ctx.Logger(), g.config().Owned()
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	if g.Legacy != nil {
		if err := g.Legacy.open(g.log); err != nil {
			return err
		}
	}
	if g.ReportOnly {
		g.log.Warn("a guard with report_only protects nothing: it lets through what it would refuse")
	}
	if g.Edge != nil {
		server, err := g.Edge.server(g.Audience, g.log)
		if err != nil {
			return err
		}
		g.sentry = httpapi.NewSentry(g.config(), server)
		g.site = httpapi.Resource{Issuer: g.Edge.Issuer, Scope: g.config().Need.Scope}
		return nil
	}
	if g.app, err = findApp(ctx); err != nil {
		return err
	}
	g.app.guards = append(g.app.guards, g)
	return nil
}

var identityHeader = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)

// notIdentity are headers that mean something else to whoever reads a request.
var notIdentity = map[string]bool{
	"authorization": true, "connection": true, "content-length": true, "content-type": true, "cookie": true, "expect": true, "host": true,
	"te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

// Validate implements caddy.Validator.
func (g *Guard) Validate() error {
	if g.Authorization != "" && g.Authorization != "strip" && g.Authorization != "keep" {
		return fmt.Errorf("authorization %q: want strip or keep", g.Authorization)
	}
	if g.Preflight != "" && g.Preflight != "pass" {
		return fmt.Errorf("preflight %q: want pass", g.Preflight)
	}
	for _, h := range g.Headers {
		if h.Name == "" || h.Claim == "" {
			return errors.New("header: want the name of a header and of a claim")
		}
		if !identityHeader.MatchString(h.Name) || notIdentity[strings.ToLower(h.Name)] {
			return fmt.Errorf("header %q: want one that tells who asks, such as X-User", h.Name)
		}
	}
	return nil
}

func (g *Guard) config() httpapi.Guard {
	return httpapi.Guard{
		Need:     deviceauth.Requirement{Audience: g.Audience, Scope: deviceauth.NewScope(g.Scopes...)},
		Optional: g.Optional, KeepToken: g.Authorization == "keep", Basic: g.Basic, PassPreflight: g.Preflight == "pass" || g.ReportOnly, Headers: g.Headers,
	}
}

var (
	_ caddyhttp.MiddlewareHandler = (*Guard)(nil)
	_ caddy.Provisioner           = (*Guard)(nil)
	_ caddy.Validator             = (*Guard)(nil)
)
