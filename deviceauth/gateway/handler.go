package gateway

import (
	"errors"
	"log/slog"
	"net/http"
	"net/netip"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// HandlerConfig says what a [Handler] serves. [Open] fills one in; a program that
// makes its own engine may do so, too.
type HandlerConfig struct {
	Engine    *deviceauth.Engine
	Keys      oauthapi.Keys
	Upstreams []deviceauth.Upstream // where people sign in, in the order of their buttons
	CookieKey func() [32]byte       // seals what browsers keep, as it is now; required, and never all zeros
	Brand     pages.Brand
	Paths     oauthapi.Paths
	Dialects  []string                       // other products whose devices are served too, of [oauthapi.Dialects]
	ClientIP  func(*http.Request) netip.Addr // default: the peer's address
	Place     func(*http.Request) string     // where a device asks from, in words; default: unknown
	Log       *slog.Logger                   // of faults; default: they are discarded
	Stopping  func() bool                    // whether the server is about to stop; default: it never is
}

// A Handler serves the endpoints and the pages of one issuer.
type Handler struct {
	OAuth *oauthapi.Handler
	Pages *pages.Handler
}

// NewHandler checks the configuration, and puts the endpoints and the pages together:
// the endpoints lead to the code page, and show people its kind of error pages.
func NewHandler(c HandlerConfig) (*Handler, error) {
	if c.Engine == nil || c.Keys == nil {
		return nil, errors.New("a handler needs an Engine and Keys")
	}
	log := endpoint.NewLog(c.Log)
	paths := c.Paths.Below(c.Engine.Issuer())
	people, err := pages.New(pages.Config{
		Engine: c.Engine, Upstreams: c.Upstreams, CookieKey: c.CookieKey, Brand: c.Brand,
		Path: paths.Device, Authorize: paths.Authorize, ClientIP: c.ClientIP, Log: log, Stopping: c.Stopping,
	})
	if err != nil {
		return nil, err
	}
	oauth, err := oauthapi.New(oauthapi.Config{
		Engine: c.Engine, Keys: c.Keys, Upstreams: c.Upstreams, Paths: c.Paths, Dialects: c.Dialects,
		ClientIP: c.ClientIP, Place: c.Place, ScopeText: people.ScopeText, Log: log, Stopping: c.Stopping,
	})
	if err != nil {
		return nil, err
	}
	return &Handler{OAuth: oauth, Pages: people}, nil
}

// Serves reports whether the path is one of the issuer's.
func (h *Handler) Serves(path string) bool { return h.OAuth.Serves(path) || h.Pages.Serves(path) }

// Receive waits for the body of a request that the handler is about to serve, for at
// most 10 s, and answers one that does not arrive: 408, or 503 where the server is
// about to stop; it then returns false. ServeHTTP does it first thing. A caller that
// holds something while ServeHTTP runs calls Receive before.
func (h *Handler) Receive(w http.ResponseWriter, r *http.Request) bool {
	if h.OAuth.Serves(r.URL.Path) {
		return h.OAuth.Receive(w, r)
	}
	return h.Pages.Receive(w, r)
}

// ServeHTTP answers a request; a path that is not the issuer's is 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.OAuth.Serves(r.URL.Path) {
		h.OAuth.ServeHTTP(w, r)
		return
	}
	h.Pages.ServeHTTP(w, r)
}
