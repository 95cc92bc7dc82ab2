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

// HandlerConfig is the configuration of a [Handler]. [Open] sets it; a program with
// its own engine may use it, too.
type HandlerConfig struct {
	Engine    *deviceauth.Engine
	Keys      oauthapi.Keys
	Upstreams []deviceauth.Upstream // where people sign in, in the order of their buttons
	CookieKey func() [32]byte       // returns the current key that encrypts cookies; required, and never all zeros
	Brand     pages.Brand
	Paths     oauthapi.Paths
	Dialects  []string                       // other products whose devices are supported, of [oauthapi.Dialects]
	ClientIP  func(*http.Request) netip.Addr // default: the peer's address
	Place     func(*http.Request) string     // location of a device in words; default: unknown
	Log       *slog.Logger                   // of faults; default: discarded
	Stopping  func() bool                    // reports whether the server is shutting down; default: it never is
}

// A Handler serves the endpoints and the pages of one issuer.
type Handler struct {
	OAuth *oauthapi.Handler
	Pages *pages.Handler
}

// NewHandler checks the configuration, and creates the endpoints and the pages, which
// share paths, log and client addresses.
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

// Receive waits at most 10 s for the body of a request that the handler is about to
// serve. If the body does not arrive, it responds with 408, or with 503 if the server
// is shutting down, and returns false. ServeHTTP calls it first. A caller that holds
// a resource while ServeHTTP runs should call Receive before it acquires that.
func (h *Handler) Receive(w http.ResponseWriter, r *http.Request) bool {
	if h.OAuth.Serves(r.URL.Path) {
		return h.OAuth.Receive(w, r)
	}
	return h.Pages.Receive(w, r)
}

// ServeHTTP serves a request; it responds with 404 to a path that is not the
// issuer's.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.OAuth.Serves(r.URL.Path) {
		h.OAuth.ServeHTTP(w, r)
		return
	}
	h.Pages.ServeHTTP(w, r)
}
