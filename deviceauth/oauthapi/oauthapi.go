// Package oauthapi serves the HTTP endpoints of an issuer for programs and devices:
// the device authorization, token, revocation, introspection and userinfo endpoints
// (RFC 8628, RFC 6749, RFC 7009, RFC 7662), the metadata and keys (RFC 8414, RFC
// 7517), back-channel logout, and the dialects of other products. It makes no
// decisions about grants: a [deviceauth.Engine] does. The pages for people are in
// package pages; package gateway combines both.
package oauthapi

import (
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// Config is the configuration of a [Handler]. Engine and Keys are required.
type Config struct {
	Engine    *deviceauth.Engine
	Keys      Keys
	Upstreams []deviceauth.Upstream          // whose back-channel logout is accepted
	Paths     Paths                          // of the endpoints and the code page
	Dialects  []string                       // other products whose devices are supported, of [Dialects]
	ClientIP  func(*http.Request) netip.Addr // default: the peer's address
	Place     func(*http.Request) string     // location of a device in words; default: unknown
	ScopeText func(scope string) string      // explanation of a scope in English; default: the scope itself
	Log       *endpoint.Log                  // of faults; default: it discards them
	Stopping  func() bool                    // reports whether the server is shutting down; default: it never is
}

// Keys publishes the signing keys. Package keyring implements it.
type Keys interface {
	JWKS() []byte         // RFC 7517 §5
	Algorithms() []string // of ID tokens
}

// mux provides the methods Serves, Receive and ServeHTTP of a Handler.
type mux = endpoint.Mux

// A Handler serves the endpoints of one issuer.
type Handler struct {
	mux
	cfg     Config
	routes  map[string]endpoint.Route
	origin  string       // of the issuer: scheme and host
	guard   *guard.Guard // of the userinfo endpoint
	tenants bool         // a route begins with a segment that may be anything

	registration endpoint.Route // of each registered client; without methods if clients may not register
	app          endpoint.Route // the same for the dialect codeontime
}

// New checks the configuration, sets the defaults and returns a handler. It fails
// without Engine or Keys, if the issuer is not a URL, and with the error of
// [CheckDialects].
func New(c Config) (*Handler, error) {
	if c.Engine == nil || c.Keys == nil {
		return nil, errors.New("a handler needs an Engine and Keys")
	}
	origin, _, err := endpoint.Origin(c.Engine.Issuer())
	if err != nil {
		return nil, err
	}
	if err := CheckDialects(c.Dialects, c.Paths, c.Engine.Issuer()); err != nil {
		return nil, err
	}
	c.ClientIP = endpoint.ClientIP(c.Engine, c.ClientIP)
	if c.Place == nil {
		c.Place = func(*http.Request) string { return "" }
	}
	if c.ScopeText == nil {
		c.ScopeText = func(scope string) string { return scope }
	}
	if c.Log == nil {
		c.Log = endpoint.NewLog(nil)
	}
	c.Paths.fill(pathOf(c.Engine.Issuer()))
	h := &Handler{cfg: c, origin: origin}
	h.mux = endpoint.Mux{
		Find: h.find, AllowsOrigin: c.Engine.IsClientOrigin, Stopping: c.Stopping, Ended: c.Engine.Closed,
	}
	need := deviceauth.Requirement{Scope: deviceauth.ScopeOpenID}
	h.guard = guard.New(guard.Options{Need: need, NoMetadata: true}, c.Engine)
	h.routes = h.table()
	return h, nil
}

// table returns all routes with a fixed path: the standard endpoints, the metadata,
// and those of the configured dialects. It does not contain the two routes whose path
// ends with a client_id; [Handler.find] handles these.
func (h *Handler) table() map[string]endpoint.Route {
	p := h.cfg.Paths
	standard := &vendorDialect{Handler: h, dialect: dialect{paths: dialectPaths{
		authorization: p.DeviceAuthorization, token: p.Token, userinfo: p.Userinfo, revoke: p.Revoke,
	}}}
	routes := map[string]endpoint.Route{
		p.Introspect:                     standard.post(standard.introspect),
		p.JWKS:                           standard.open(h.jwks),
		p.Device + "/backchannel-logout": standard.backChannelLogoutRoute(),
	}
	if h.cfg.Engine.Registration().Registers() {
		routes[p.Register] = standard.registerRoute()
		h.registration = standard.registrationRoute()
	}
	for _, path := range p.metadata() {
		routes[path] = standard.open(h.metadata)
	}
	maps.Copy(routes, standard.routes())
	for _, name := range h.cfg.Dialects {
		vendor := &vendorDialect{Handler: h, dialect: dialects[name]}
		if name == "codeontime" && h.cfg.Engine.Registration().Token != "" {
			h.app = vendor.appRoute()
		}
		for path, route := range vendor.routes() {
			routes[p.prefix+path] = route
			h.tenants = h.tenants || strings.HasPrefix(path, tenant)
		}
	}
	return routes
}

// find returns the route of a path: a fixed one, or else one that ends with the
// client_id of a registered client, or else one of a dialect that begins with a
// tenant.
func (h *Handler) find(path string) (endpoint.Route, bool) {
	if r, ok := h.routes[path]; ok {
		return r, true
	}
	// Any path below the registration endpoint: a token that is sent there must not be
	// passed to the site.
	if strings.HasPrefix(path, h.cfg.Paths.Register+"/") && h.registration.Methods != nil {
		return h.registration, true
	}
	if strings.HasPrefix(path, h.cfg.Paths.prefix+codeOnTimeApps+"/") && h.app.Methods != nil {
		return h.app, true
	}
	rest, ok := strings.CutPrefix(path, h.cfg.Paths.prefix)
	if !ok || !h.tenants {
		return endpoint.Route{}, false
	}
	if rest, ok = anyTenant(rest); !ok {
		return endpoint.Route{}, false
	}
	r, ok := h.routes[h.cfg.Paths.prefix+rest]
	return r, ok
}
