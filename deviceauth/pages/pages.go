// Package pages serves the pages of an issuer, on which people type a code, sign in
// at an upstream, answer the question about a device (RFC 8628 §3.3), manage their
// devices and sign out. It handles the state in their browsers, languages and the
// operator's brand. It makes no decisions about grants: a [deviceauth.Engine] does.
// The endpoints for programs and devices are in package oauthapi; package gateway
// combines both.
package pages

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// Config is the configuration of a [Handler].
type Config struct {
	Engine    *deviceauth.Engine
	Upstreams []deviceauth.Upstream          // where people sign in, in the order of their buttons
	CookieKey func() [32]byte                // returns the current key of cookies; required, and never all zeros
	Brand     Brand                          // the appearance of the pages
	Path      string                         // of the code page, such as /device; the others lie below it
	Authorize string                         // path of the authorization endpoint, such as /oauth2/authorize
	ClientIP  func(*http.Request) netip.Addr // default: the peer's address
	Log       *endpoint.Log                  // of faults; default: it discards them
	Stopping  func() bool                    // reports whether the server is shutting down; default: it never is
}

// mux provides the methods Serves, Receive and ServeHTTP of a Handler.
type mux = endpoint.Mux

// A Handler serves the pages of one issuer.
type Handler struct {
	mux
	cfg      Config
	routes   map[string]endpoint.Route
	seal     sealer
	renderer *renderer
	scopes   map[string]*scopeText // the operator's explanations
	origin   string                // of the issuer: scheme and host
	cross    *http.CrossOriginProtection
}

// New checks the configuration and returns a handler.
func New(c Config) (*Handler, error) {
	if c.Engine == nil {
		return nil, errors.New("pages need an Engine")
	}
	sealer, err := newSealer(c.CookieKey)
	if err != nil {
		return nil, err
	}
	origin, host, err := endpoint.Origin(c.Engine.Issuer())
	if err != nil {
		return nil, err
	}
	c.ClientIP = endpoint.ClientIP(c.Engine, c.ClientIP)
	if c.Log == nil {
		c.Log = endpoint.NewLog(nil)
	}
	h := &Handler{cfg: c, seal: sealer, origin: origin}
	h.mux = endpoint.Mux{Find: h.find, Stopping: c.Stopping}
	if h.renderer, err = newRenderer(c.Brand, c.Path, host); err != nil {
		return nil, err
	}
	if r := c.Engine.Registration(); r.Registers() || len(r.Documents) > 0 {
		if err := h.renderer.checkWarning(); err != nil {
			return nil, err
		}
	}
	if h.scopes, err = newScopeTexts(c.Engine.ScopeTexts()); err != nil {
		return nil, err
	}
	// Only forms from the issuer's own origin are accepted, even behind a proxy that
	// changes Host.
	h.cross = http.NewCrossOriginProtection()
	if err := h.cross.AddTrustedOrigin(h.origin); err != nil {
		return nil, err
	}
	h.routes = h.table()
	return h, nil
}

// table returns all routes.
func (h *Handler) table() map[string]endpoint.Route {
	file := func(name string) endpoint.Route {
		get := refuseServiceWorker(h.renderer.asset(name))
		return endpoint.Route{Methods: map[string]endpoint.Func{http.MethodGet: get}, Fail: h.ErrorPage}
	}
	// Pages are for navigations, and never for a script that fetches them.
	page := func(get, post endpoint.Func) endpoint.Route {
		m := map[string]endpoint.Func{http.MethodGet: navigationOnly(get), http.MethodPost: navigationOnly(post)}
		return endpoint.Route{Methods: m, Fail: h.ErrorPage}
	}
	path := h.cfg.Path
	routes := map[string]endpoint.Route{
		path:                       page(h.codePage, h.submitCode),
		path + "/sign-in":          page(h.signInPage, nil),
		path + "/sign-out":         page(nil, h.signOut),
		path + "/signed-out":       page(h.signedOutPage, nil),
		path + "/confirm":          page(h.confirmPage, h.decide),
		path + "/done":             page(h.donePage, nil),
		path + "/return":           page(h.returnPage, nil),
		path + "/connections":      page(h.connectionsPage, h.disconnect),
		path + "/connections/name": page(nil, h.nameDevice),
		path + "/style.css":        file("style.css"),
		path + "/script.js":        file("script.js"),
	}
	routes[h.cfg.Authorize] = page(h.authorize, h.authorizeByPost)
	// These paths cannot be configured, because they are registered at upstreams.
	for _, path := range h.callbacks() {
		routes[path] = page(h.callback, nil)
	}
	return routes
}

// find returns the route of a path.
func (h *Handler) find(path string) (endpoint.Route, bool) {
	route, ok := h.routes[path]
	return route, ok
}

// ScopeText returns the explanation of a scope in English: the operator's, or else
// ours, or else the scope itself.
func (h *Handler) ScopeText(scope string) string {
	return h.renderer.languages.byIndex(0).Scope(h.explainScope(scope))
}
