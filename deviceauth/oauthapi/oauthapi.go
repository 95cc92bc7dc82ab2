// Package oauthapi is what programs and devices ask of an issuer over HTTP: the
// device authorization, token, revocation, introspection and userinfo endpoints
// (RFC 8628, RFC 6749, RFC 7009, RFC 7662), the metadata and keys (RFC 8414, RFC
// 7517), back-channel logout, and the dialects of other products. It decides nothing
// about grants: a [deviceauth.Engine] does. What people see is package pages';
// package gateway puts both together.
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
	Upstreams []deviceauth.Upstream          // whose back-channel logout is heard
	Paths     Paths                          // where the endpoints and the code page are
	Dialects  []string                       // other products whose devices are served too, of [Dialects]
	ClientIP  func(*http.Request) netip.Addr // default: the peer's address
	Place     func(*http.Request) string     // where a device asks from, in words; default: unknown
	ScopeText func(scope string) string      // what a scope allows, in English; default: the scope itself
	Log       *endpoint.Log                  // hears faults; default: it discards
	Stopping  func() bool                    // whether the server is about to stop; default: it never is
}

// Keys publishes the signing keys. Package keyring has them.
type Keys interface {
	JWKS() []byte         // RFC 7517 §5
	Algorithms() []string // of ID tokens
}

// mux gives a Handler its methods Serves, Receive and ServeHTTP.
type mux = endpoint.Mux

// A Handler serves the endpoints of one issuer.
type Handler struct {
	mux
	cfg     Config
	routes  map[string]endpoint.Route
	origin  string       // of the issuer: scheme and host
	guard   *guard.Guard // of the userinfo endpoint
	tenants bool         // some route begins with any segment

	registration endpoint.Route // of each client that registered; no methods where none may
	app          endpoint.Route // the same in the dialect codeontime
}

// New checks the configuration, fills in the defaults and returns a handler. It fails
// without an Engine or Keys, for an issuer that is no URL, and with the error of
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

// table is every route with a fixed path: the standard endpoints, the metadata, and
// those of the dialects that are configured. The two routes below which a client's id
// follows are not in it; [Handler.find] knows them.
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

// find is the route of a path: first a fixed one, then those that end in the id of a
// registered client, then those of a dialect that begin with a tenant.
func (h *Handler) find(path string) (endpoint.Route, bool) {
	if r, ok := h.routes[path]; ok {
		return r, true
	}
	// Whatever stands below: a token that is sent there is not the site's to see.
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
