package caddymodule

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// Endpoints serves what is under the issuer's URL, the endpoints for devices
// and the pages for people, and passes everything else on.
type Endpoints struct {
	app   *App
	sites *sites
}

// CaddyModule returns the module's registration.
func (Endpoints) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.device_login", New: func() caddy.Module { return new(Endpoints) }}
}

// Provision finds the app.
func (e *Endpoints) Provision(ctx caddy.Context) (err error) {
	if e.app, err = findApp(ctx); err == nil {
		e.sites, err = findSites(ctx)
	}
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (e *Endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if e.app.Health != "" && r.URL.Path == e.app.Health {
		return e.app.serveHealth(w, r)
	}
	if !e.app.receive(w, r) {
		return nil
	}
	if describesResource(r) {
		reqbody.Discard(w, r, caddy.Exiting)
	}
	s, leave, err := e.app.serving(r)
	if err != nil {
		if err = unavailable(w, err); e.sites.explain(nil, w, r, err) {
			return nil // Caddy writes a line to its log for each error that it is given
		}
		hide(r, err) // no guard has judged it
		return err
	}
	switch {
	case s.handler.Serves(r.URL.Path):
		defer leave()
		if v, ok := caddyhttp.GetVar(r.Context(), requestIdentityVar).(*requestIdentity); ok && v.cookies != nil {
			r.Header["Cookie"] = v.cookies // which a guard before this handler took off
		}
		s.handler.ServeHTTP(w, r)
		return nil
	case describesResource(r):
		defer leave()
		e.sites.resource(r, strings.TrimPrefix(r.URL.Path, guard.ResourceMetadataPath)).ServeHTTP(w, came(r))
		return nil
	}
	leave() // before what may take hours
	guard.StripCookies(r.Header)
	return next.ServeHTTP(w, r)
}

// isTrusted reports whether a request came by a proxy that Caddy's
// trusted_proxies names.
func isTrusted(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// came believes a trusted proxy about how a request came to it.
func came(r *http.Request) *http.Request {
	said := r.Header.Values("X-Forwarded-Proto")
	if !isTrusted(r) || len(said) == 0 || said[len(said)-1] != "https" {
		return r
	}
	return guard.CameByHTTPS(r)
}

// findApp finds the authorization server of this Caddy. Where it is configured
// and wrong, the configuration fails to load for that, and says so in a line of
// its own: no handler repeats it behind a list of where it stands.
func findApp(ctx caddy.Context) (*App, error) {
	app, err := ctx.AppIfConfigured("device_login")
	switch {
	case errors.Is(err, caddy.ErrNotConfigured):
		return nil, errors.New("device_login and device_auth need the global option device_login { issuer … }")
	case err != nil:
		return new(App), nil
	}
	return app.(*App), nil
}

// clientIP is the address that Caddy found, with regard to trusted_proxies. What
// it stands for, where it is a translator's, the engine knows.
func clientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Addr{}
	}
	return addr
}

var (
	_ caddyhttp.MiddlewareHandler = (*Endpoints)(nil)
	_ caddy.Provisioner           = (*Endpoints)(nil)
)
