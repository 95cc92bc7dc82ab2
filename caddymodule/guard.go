package caddymodule

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"

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

// at returns the guard made ready for the server, who describes the guarded
// site, and what tells that the request has done with the server.
func (g *Guard) at(w http.ResponseWriter, r *http.Request) (sentry *httpapi.Sentry, site httpapi.Resource, leave func(), err error) {
	if g.Edge != nil {
		return g.sentry, g.site, func() {}, nil
	}
	s, leave, err := g.app.serving(w, r)
	if err != nil {
		return nil, site, nil, err
	}
	return s.sentry(g), g.app.site(s), leave, nil
}

var errDots = errors.New("the path has a dot segment")

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	g.owned.Strip(r)
	if g.ReportOnly {
		return g.report(w, r, next)
	}
	return g.enforce(w, r, next)
}

func (g *Guard) enforce(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	who := visitorOf(r)
	if ambiguous(r.URL.Path) {
		decided(decisionMalformed)
		return caddyhttp.Error(http.StatusBadRequest, errDots)
	}
	sentry, site, leave, err := g.at(w, r)
	if err != nil {
		decided(decisionUnavailable)
		return err
	}
	if describesResource(r) {
		defer leave()
		site.ServeHTTP(w, came(r))
		return nil
	}
	pass, err := g.check(sentry, who, w, r)
	leave() // before the backend, which may take hours
	if err != nil || !pass {
		return err
	}
	if origin, ok := sentry.Origin(r); ok {
		w = &corsWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, origin: origin}
	}
	if g.app != nil && !who.watched && who.id != nil && who.id.Grant != (deviceauth.ID{}) {
		who.watched = true
		s := &stream{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, app: g.app, grant: who.id.Grant}
		defer s.end()
		w = s
	}
	return next.ServeHTTP(w, r)
}

// report lets a request through that would be refused, as if no guard had seen
// it.
func (g *Guard) report(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	header, passed := w.Header().Clone(), false
	err := g.enforce(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		passed = true
		return next.ServeHTTP(w, r)
	}))
	if err == nil || passed {
		return err
	}
	clear(w.Header())
	maps.Copy(w.Header(), header)
	decided(decisionReported)
	g.log.Info("would be refused", zap.String("method", r.Method), zap.String("path", r.URL.Path), zap.Stringer("client_ip", clientIP(r)), zap.Error(err))
	return next.ServeHTTP(w, r)
}

// check decides on the request and makes it ready for the backend.
func (g *Guard) check(sentry *httpapi.Sentry, who *visitor, w http.ResponseWriter, r *http.Request) (pass bool, err error) {
	if sentry.Preflight(w.Header(), r) {
		decided(decisionPreflight)
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	}
	if httpapi.IsPreflight(r) { // that is the backend's business
		httpapi.StripOverrides(r)
		decided(decisionPreflight)
		return true, nil
	}
	if g.Legacy != nil && g.Legacy.admit(sentry, who, w, r) {
		return true, nil
	}
	start := time.Now()
	id, token, err := sentry.Admit(came(r), who.token)
	guardSeconds.Observe(time.Since(start).Seconds())
	var challenge *httpapi.Challenge
	switch {
	case errors.As(err, &challenge):
		decided(decisionOf(challenge))
		return false, refuse(sentry, w, r, challenge)
	case err != nil:
		decided(decisionUnavailable)
		return false, unavailable(w, err)
	}
	who.id = id // an earlier guard may have known somebody by an old key
	if id == nil {
		decided(decisionAnonymous)
		return true, nil
	}
	decided(decisionAdmitted)
	who.token = token
	sentry.Identify(r, id)
	return true, nil
}

// refuse goes through Caddy's handle_errors.
func refuse(sentry *httpapi.Sentry, w http.ResponseWriter, r *http.Request, c *httpapi.Challenge) error {
	w.Header().Set("WWW-Authenticate", c.Header)
	w.Header().Set("Cache-Control", "no-store")
	if origin, ok := sentry.Origin(r); ok {
		allowOrigin(w.Header(), origin)
	}
	return caddyhttp.Error(c.Status, c)
}

var (
	_ caddyhttp.MiddlewareHandler = (*Guard)(nil)
	_ caddy.Provisioner           = (*Guard)(nil)
	_ caddy.Validator             = (*Guard)(nil)
)
