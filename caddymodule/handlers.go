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

// Endpoints serves everything below the issuer's URL, the endpoints for devices and
// the pages for people, and passes other requests to the next handler.
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

// ServeHTTP implements caddyhttp.MiddlewareHandler. It handles, in this order: the
// health path, which must work without the store; the body of the request; the
// endpoints and pages; the protected resource metadata of the site. The store is
// acquired while an endpoint or page responds, and never while the next handler does.
func (e *Endpoints) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if e.app.Health != "" && r.URL.Path == e.app.Health {
		return e.app.serveHealth(w, r)
	}
	// The body is read before the store is acquired: a slow client must not keep the
	// store from being closed.
	if !e.app.receive(w, r) {
		return nil
	}
	// The metadata are for GET, which needs no body.
	if guard.IsMetadataPath(r.URL.Path) {
		reqbody.Discard(w, r, caddy.Exiting)
	}
	s, release, err := e.app.acquire(r)
	if err != nil {
		if err = unavailable(w, err); e.sites.explain(nil, w, r, err) {
			return nil // Caddy would log a returned error, once for each request
		}
		hide(r, err) // no guard has decided about the request
		return err
	}
	// The handler recognizes its paths, including those of dialects.
	switch {
	case s.handler.Serves(r.URL.Path):
		defer release()
		if v, ok := caddyhttp.GetVar(r.Context(), requestIdentityVar).(*requestIdentity); ok && v.Cookies != nil {
			r.Header["Cookie"] = v.Cookies // an earlier guard has removed our cookies
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
	// The next handler gets no cookies of the pages: a backend on the same host could
	// otherwise act as the signed-in person.
	guard.StripCookies(r.Header)
	return next.ServeHTTP(w, r)
}

// isTrusted reports whether a request was sent by one of Caddy's trusted_proxies.
func isTrusted(r *http.Request) bool {
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	return trusted
}

// withForwardedProto returns the request with the scheme that a trusted proxy sent in
// X-Forwarded-Proto: behind a proxy that terminates TLS, URLs in challenges and
// metadata must still be https. Of several values the last one is the trusted proxy's
// own.
func withForwardedProto(r *http.Request) *http.Request {
	values := r.Header.Values("X-Forwarded-Proto")
	if !isTrusted(r) || len(values) == 0 || values[len(values)-1] != "https" {
		return r
	}
	return guard.WithHTTPS(r)
}

// findApp returns the authorization server of this Caddy. If the app is configured
// but faulty, Caddy reports that when it loads the app itself; an error here would
// repeat it for each handler. The configuration fails to load in any case, so an
// empty App is returned.
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

// clientIP returns the client's address as Caddy determined it with trusted_proxies.
// The engine maps IPv6 addresses of a NAT64 to IPv4.
func clientIP(r *http.Request) netip.Addr {
	text, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, _ := netip.ParseAddr(text) // the zero Addr if there is none
	return addr
}

var (
	_ caddyhttp.MiddlewareHandler = (*Endpoints)(nil)
	_ caddy.Provisioner           = (*Endpoints)(nil)
)
