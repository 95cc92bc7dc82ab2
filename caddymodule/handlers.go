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

// Endpoints serves what is under the issuer's URL, the endpoints for devices and
// the pages for people, and hands every other request to the next handler.
type Endpoints struct {
	app   *App
	sites *sites
}

// CaddyModule returns the module's registration.
func (Endpoints) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.device_login", New: func() caddy.Module { return new(Endpoints) }}
}

// Provision finds the app and the sites.
func (e *Endpoints) Provision(ctx caddy.Context) (err error) {
	if e.app, err = findApp(ctx); err == nil {
		e.sites, err = findSites(ctx)
	}
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. In this order: the health
// path, which must work while the store does not; the body of the request; the
// endpoints and pages; the protected resource metadata of the site. The store is
// held open while an endpoint or page responds, and never while the next handler
// does.
func (e *Endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if e.app.Health != "" && r.URL.Path == e.app.Health {
		return e.app.serveHealth(w, r)
	}
	// A body is read before the store is acquired: a slow client must not keep
	// the store from being closed.
	if !e.app.receive(w, r) {
		return nil
	}
	// The metadata is for GET; a body would be of no use to it.
	if guard.IsMetadataPath(r.URL.Path) {
		reqbody.Discard(w, r, caddy.Exiting)
	}
	s, release, err := e.app.acquire(r)
	if err != nil {
		if err = unavailable(w, err); e.sites.explain(nil, w, r, err) {
			return nil // an error that is returned would be logged by Caddy, once for each request
		}
		hide(r, err) // no guard has decided on the request
		return err
	}
	// The pages decide what is theirs by path alone, dialects included.
	switch {
	case s.handler.Serves(r.URL.Path):
		defer release()
		if v, ok := caddyhttp.GetVar(r.Context(), requestIdentityVar).(*requestIdentity); ok && v.Cookies != nil {
			r.Header["Cookie"] = v.Cookies // a guard before this handler took our cookies off
		}
		s.handler.ServeHTTP(w, r)
		return nil
	case guard.IsMetadataPath(r.URL.Path):
		defer release()
		path := strings.TrimPrefix(r.URL.Path, guard.ResourceMetadataPath)
		e.sites.resource(r, path).ServeHTTP(w, withForwardedProto(r))
		return nil
	}
	release() // before the next handler responds, which may take hours
	// The next handler gets no cookie of the pages: a backend on the same host
	// could otherwise act as the person who signed in.
	guard.StripCookies(r.Header)
	return next.ServeHTTP(w, r)
}

// isTrusted reports whether a request was sent by a proxy that Caddy's
// trusted_proxies names.
func isTrusted(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// withForwardedProto is the request with the scheme that a trusted proxy states in
// X-Forwarded-Proto: behind a proxy that ends TLS, URLs in challenges and
// metadata must still begin with https. Of several values the last one is the
// trusted proxy's own.
func withForwardedProto(r *http.Request) *http.Request {
	values := r.Header.Values("X-Forwarded-Proto")
	if !isTrusted(r) || len(values) == 0 || values[len(values)-1] != "https" {
		return r
	}
	return guard.WithHTTPS(r)
}

// findApp finds the authorization server of this Caddy. Where the app is
// configured and faulty, Caddy reports that when it loads the app itself; an
// error here would repeat the reason once for each handler. The configuration
// fails to load either way, so an empty App stands in.
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

// clientIP is the client's address as Caddy determined it with trusted_proxies.
// The engine knows which IPv6 addresses stand for IPv4 ones behind a NAT64.
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
