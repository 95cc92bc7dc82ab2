// Package demoidp is the identity provider of the demo: an OpenID provider in
// memory with two accounts and no passwords. It stands in for the company's
// own one, so that the whole flow can be tried with one command; the protocol
// is a library's, the login page is its own. Because everybody may be anybody
// there, it serves this machine only. Only the demo binary links it in.
package demoidp

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("demo_idp", parse)
	httpcaddyfile.RegisterDirectiveOrder("demo_idp", httpcaddyfile.Before, "respond")
}

// Handler is a demo OpenID provider for this machine only.
type Handler struct {
	// The issuer URL, on a loopback host.
	Issuer string `json:"issuer,omitempty"`
	// The one relying party.
	ClientID     string `json:"client_id,omitempty"`
	ClientSecret string `json:"client_secret,omitempty"`
	// Where it may be sent back to.
	RedirectURI string `json:"redirect_uri,omitempty"`

	provider *provider
	key      string // of the pool; empty: nothing is held
}

// CaddyModule returns the module's registration.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.demo_idp", New: func() caddy.Module { return new(Handler) }}
}

// providers keeps keys and sign-ins across reloads.
var providers = caddy.NewUsagePool()

// Destruct has nothing to close.
func (*provider) Destruct() error { return nil }

// Provision refuses every issuer beyond this machine.
func (h *Handler) Provision(caddy.Context) error {
	u, err := url.Parse(h.Issuer)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !loopback(u.Hostname()) || u.Path != "" {
		return fmt.Errorf("demo_idp: issuer %q: the demo provider lets everybody in, so it serves only a loopback host such as http://localhost:8081", h.Issuer)
	}
	if h.ClientID == "" || h.ClientSecret == "" || h.RedirectURI == "" {
		return errors.New("demo_idp: want client with an id, a secret and a redirect URI")
	}
	c := client{h.ClientID, h.ClientSecret, h.RedirectURI}
	key := fmt.Sprint(h.Issuer, c)
	value, _, err := providers.LoadOrNew(key, func() (caddy.Destructor, error) { return newProvider(h.Issuer, c) })
	if err != nil {
		return err
	}
	h.provider, h.key = value.(*provider), key
	return nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Cleanup lets go of the provider.
func (h *Handler) Cleanup() error {
	if h.key == "" {
		return nil
	}
	_, err := providers.Delete(h.key)
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	if !local(r) {
		return caddyhttp.Error(http.StatusForbidden, errors.New("the demo identity provider serves only this machine"))
	}
	h.provider.mux.ServeHTTP(w, r)
	return nil
}

// local reports whether both ends of the connection are on this machine. No
// header is asked, and no proxy is trusted.
func local(r *http.Request) bool {
	here, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && onLoopback(here.String()) && onLoopback(r.RemoteAddr)
}

func onLoopback(text string) bool {
	addr, err := netip.ParseAddrPort(text)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := new(Handler)
	return p, p.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive:
//
//	demo_idp {
//		issuer <url>
//		client <id> <secret> <redirect_uri>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		switch d.Val() {
		case "issuer":
			if !d.AllArgs(&h.Issuer) {
				return d.Err("issuer: want one URL")
			}
		case "client":
			if !d.AllArgs(&h.ClientID, &h.ClientSecret, &h.RedirectURI) {
				return d.Err("client: want an id, a secret and a redirect URI")
			}
		default:
			return d.Errf("demo_idp has no subdirective %q; want issuer or client", d.Val())
		}
	}
	return nil
}

var (
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
