// Package httpapi speaks: it is the HTTP side of a [deviceauth.Engine], with
// the endpoints for devices (RFC 8628, RFC 6749, RFC 8414), the pages for
// people, and userinfo. It decides nothing about grants, and
// knows no particular server: package caddymodule puts it into Caddy.
package httpapi

import (
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
)

// Config says what a [Handler] speaks for.
type Config struct {
	Engine    *deviceauth.Engine
	Keys      Keys
	Upstreams []deviceauth.Upstream // where people sign in, in the order of their buttons
	CookieKey func() [32]byte       // seals what browsers keep, as it is now; required, and never all zeros
	Brand     Brand
	Paths     Paths
	Dialects  []string                       // other products whose devices are served too, of [Dialects]
	ClientIP  func(*http.Request) netip.Addr // default: the peer's address
	Place     func(*http.Request) string     // where a device asks from, in words; default: nobody knows
	Log       *slog.Logger                   // hears faults; default: nobody does
	Stopping  func() bool                    // whether the server is about to stop; default: it never is
}

// Keys publishes the signing keys. Package keyring has them.
type Keys interface {
	JWKS() []byte         // RFC 7517 §5
	Algorithms() []string // of ID tokens
}

// A Handler serves the endpoints and pages of one issuer.
type Handler struct {
	cfg     Config
	routes  map[string]route
	origins map[string]bool
	seal    sealer
	pages   *pages
	scopes  map[string]*scopeText // what the operator says that they allow
	origin  string                // of the issuer: scheme and host
	cross   *http.CrossOriginProtection
	guard   *guard.Guard               // of the userinfo endpoint
	tenants bool                       // some route begins with any segment
	lines   *sampling.Sampler[logKind] // of what strangers cause
	faults  *sampling.Sampler[logKind] // of what is away
}

type handlerFunc = func(*http.Request) (*answer, error)

// A route is what one path offers.
type route struct {
	methods map[string]handlerFunc
	cors    corsPolicy
	fail    func(*http.Request, error) *answer // turns an error into an answer in the route's own language
}

// New checks the configuration and returns a handler.
func New(c Config) (*Handler, error) {
	if c.Engine == nil || c.Keys == nil {
		return nil, errors.New("a handler needs an Engine and Keys")
	}
	sealer, err := newSealer(c.CookieKey)
	if err != nil {
		return nil, err
	}
	issuer, err := url.Parse(c.Engine.Issuer())
	if err != nil {
		return nil, err
	}
	if err := CheckDialects(c.Dialects, c.Paths, c.Engine.Issuer()); err != nil {
		return nil, err
	}
	if c.ClientIP == nil {
		c.ClientIP = peer
	}
	clientIP := c.ClientIP
	c.ClientIP = func(r *http.Request) netip.Addr { return c.Engine.Address(clientIP(r)) }
	if c.Place == nil {
		c.Place = func(*http.Request) string { return "" }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Paths.fill(pathOf(c.Engine.Issuer()))
	h := &Handler{cfg: c, seal: sealer, origins: map[string]bool{}, origin: issuer.Scheme + "://" + issuer.Host}
	h.lines, h.faults = sampling.New(h.logMore), sampling.Outages(h.logMore)
	for _, o := range c.Engine.Origins() {
		h.origins[o] = true
	}
	if h.pages, err = newPages(c.Brand, c.Paths, issuer.Host); err != nil {
		return nil, err
	}
	if h.scopes, err = newScopeTexts(c.Engine.ScopeTexts()); err != nil {
		return nil, err
	}
	h.cross = http.NewCrossOriginProtection()
	if err := h.cross.AddTrustedOrigin(h.origin); err != nil {
		return nil, err
	}
	h.guard = guard.New(guard.Options{Need: deviceauth.Requirement{Scope: deviceauth.ScopeOpenID}, NoMetadata: true}, c.Engine)
	h.routes = h.table()
	return h, nil
}

// peer is the address of whoever holds the other end of the connection.
func peer(r *http.Request) netip.Addr {
	addr, _ := netip.ParseAddrPort(r.RemoteAddr)
	return addr.Addr().Unmap()
}

// table is all that is served.
func (h *Handler) table() map[string]route {
	p := h.cfg.Paths
	standard := &vendorDialect{h, dialect{paths: dialectPaths{p.DeviceAuthorization, p.Token, p.Userinfo, p.Revoke}}}
	open := func(f handlerFunc) route {
		return route{map[string]handlerFunc{http.MethodGet: f}, corsAny, standard.oauthError}
	}
	file := func(get handlerFunc) route {
		return route{map[string]handlerFunc{http.MethodGet: noWorker(get)}, corsNone, h.pageError}
	}
	page := func(get, post handlerFunc) route {
		m := map[string]handlerFunc{http.MethodGet: navigations(get), http.MethodPost: navigations(post)}
		return route{m, corsNone, h.pageError}
	}
	routes := map[string]route{
		p.Authorize:                      standard.authorizationRoute(),
		p.Introspect:                     standard.post(standard.introspect),
		p.JWKS:                           open(h.jwks),
		p.Device:                         page(h.codePage, h.submitCode),
		p.Device + "/sign-in":            page(h.signInPage, nil),
		p.Device + "/sign-out":           page(nil, h.signOut),
		p.Device + "/signed-out":         page(h.signedOutPage, nil),
		p.Device + "/confirm":            page(h.confirmPage, h.decide),
		p.Device + "/done":               page(h.donePage, nil),
		p.Device + "/connections":        page(h.connectionsPage, h.disconnect),
		p.Device + "/connections/name":   page(nil, h.nameDevice),
		p.Device + "/backchannel-logout": {map[string]handlerFunc{http.MethodPost: h.backChannelLogout}, corsNone, standard.oauthError},
		p.Device + "/style.css":          file(h.pages.asset("style.css")),
		p.Device + "/script.js":          file(h.pages.asset("script.js")),
	}
	for _, path := range h.callbacks() {
		routes[path] = page(h.callback, nil)
	}
	for _, path := range p.metadata() {
		routes[path] = open(h.metadata)
	}
	maps.Copy(routes, standard.routes())
	for _, name := range h.cfg.Dialects {
		for path, route := range (&vendorDialect{h, dialects[name]}).routes() {
			routes[p.prefix+path] = route
			h.tenants = h.tenants || strings.HasPrefix(path, tenant)
		}
	}
	return routes
}

// Serves reports whether the path is one of this handler's.
func (h *Handler) Serves(path string) bool {
	_, ok := h.route(path)
	return ok
}

// ServeHTTP answers a request; a path that is not its own is 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	route, ok := h.route(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if !h.Receive(w, r) {
		return
	}
	a, err := h.answer(route, r)
	if err != nil {
		a = route.fail(r, err)
	}
	h.cors(route.cors, w.Header(), r)
	a.write(w, r)
}

// answer finds the method. A HEAD is a GET without its body.
func (h *Handler) answer(route route, r *http.Request) (*answer, error) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if do := route.methods[method]; do != nil {
		return do(r)
	}
	if method == http.MethodOptions {
		return h.preflight(route, r), nil
	}
	return methodNotAllowed(route, r.Method), nil
}
