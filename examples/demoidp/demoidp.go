// Package demoidp is the identity provider of the demo: an OpenID provider in
// memory with two accounts and no passwords. It takes the place of the
// company's own provider, so that the whole flow can be tried with one command.
//
// It signs people in with one click, and serves this machine only, because
// anyone may sign in as any account. It does not decide who may use what: the
// gateway does. The protocol is implemented by a library, the login page by
// this package. Only the demo binary includes it, as the Caddy handler
// demo_idp.
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

	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// The handler comes before respond in Caddy's order of directives, so that a
// site may end with a catch-all.
func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("demo_idp", parse)
	httpcaddyfile.RegisterDirectiveOrder("demo_idp", httpcaddyfile.Before, "respond")
}

// Handler is a demo OpenID provider for this machine only.
type Handler struct {
	// The issuer URL, on a loopback host: http://localhost:8081.
	Issuer string `json:"issuer,omitempty"`
	// The client_id of the one relying party, the gateway.
	ClientID string `json:"client_id,omitempty"`
	// Its secret.
	ClientSecret string `json:"client_secret,omitempty"`
	// The addresses to which people are sent back with a code.
	RedirectURIs []string `json:"redirect_uris,omitempty"`

	provider *provider
	held     bool // this configuration holds a reference to the issuer's memory
}

// CaddyModule returns the module's registration.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.demo_idp", New: func() caddy.Module { return new(Handler) }}
}

// Provision refuses an issuer that is not on this machine, and finds or creates
// the issuer's memory. The memory is found by the issuer's URL, so a reload
// keeps the sessions of browsers and the key, and two sites with one issuer
// share both.
func (h *Handler) Provision(caddy.Context) error {
	if err := h.check(); err != nil {
		return fmt.Errorf("demo_idp: %w", err)
	}
	value, _, err := memories.LoadOrNew(h.Issuer, func() (caddy.Destructor, error) { return newMemory() })
	if err != nil {
		return fmt.Errorf("demo_idp: %w", err)
	}
	// From here on Cleanup has something to release, even if the next step
	// fails.
	h.held = true
	h.provider, err = newProvider(h.Issuer, client{id: h.ClientID, secret: h.ClientSecret, redirects: h.RedirectURIs},
		value.(*memory))
	return err
}

// check validates the configuration. The issuer must be a loopback host,
// without a path: http is safe only there, and anyone can sign in as any
// account.
func (h *Handler) check() error {
	issuer, err := url.Parse(h.Issuer)
	if err != nil || !web(issuer) || !discovery.IsLoopback(issuer.Hostname()) {
		return fmt.Errorf("issuer %q: the demo provider lets everybody in, so it serves only a loopback host such as "+
			"http://localhost:8081", h.Issuer)
	}
	if h.Issuer != issuer.Scheme+"://"+issuer.Host {
		return fmt.Errorf("issuer %q: want no more than scheme, host and port, without a slash at the end", h.Issuer)
	}
	if h.ClientID == "" || h.ClientSecret == "" || len(h.RedirectURIs) == 0 {
		return errors.New("want client with an id, a secret and a redirect URI")
	}
	for _, uri := range h.RedirectURIs {
		if u, err := url.Parse(uri); err != nil || !web(u) || u.Fragment != "" {
			return fmt.Errorf("client: redirect URI %q: want an http or https URL", uri)
		}
	}
	return nil
}

// web reports whether a URL has the scheme http or https. Redirect URIs with
// the scheme of an app make no sense for a gateway.
func web(u *url.URL) bool { return (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" }

// Cleanup releases the memory. Caddy also calls it after Provision has failed,
// and then there may be nothing to release.
func (h *Handler) Cleanup() error {
	if !h.held {
		return nil
	}
	h.held = false
	_, err := memories.Delete(h.Issuer)
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It serves every path of
// the site, and never calls the next handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	// The response does not say which check failed.
	if !local(r) {
		http.Error(w, "The demo identity provider serves only the machine that it runs on.", http.StatusForbidden)
		return nil
	}
	h.provider.mux.ServeHTTP(w, r)
	return nil
}

// local reports whether both ends of the connection are on this machine, and so
// is the host in the browser's address. This refuses foreign names that resolve
// to 127.0.0.1 (DNS rebinding), and requests through a proxy on this machine
// that serves other machines. Headers such as X-Forwarded-For are ignored.
func local(r *http.Request) bool {
	here, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	asked := url.URL{Host: r.Host}
	return ok && onLoopback(here.String()) && onLoopback(r.RemoteAddr) && discovery.IsLoopback(asked.Hostname())
}

// onLoopback reports whether an address with a port is a loopback address. An
// IPv4 address may be mapped into IPv6, if the listener accepts both.
func onLoopback(text string) bool {
	addr, err := netip.ParseAddrPort(text)
	return err == nil && addr.Addr().Unmap().IsLoopback()
}

// parse is the directive's setup function. The checks are Provision's, so that
// they also apply to JSON configurations.
func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	p := new(Handler)
	return p, p.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive:
//
//	demo_idp {
//		issuer <url>
//		client <id> <secret> <redirect_uri>...
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	// A repeated option is an error.
	seen := map[string]bool{}
	for d.NextBlock(0) {
		word := d.Val()
		if seen[word] {
			return d.Errf("demo_idp: duplicate %s", word)
		}
		seen[word] = true
		switch word {
		case "issuer":
			if !d.AllArgs(&h.Issuer) {
				return d.Err("issuer: want one URL")
			}
		case "client":
			if !d.Args(&h.ClientID, &h.ClientSecret) {
				return d.Err("client: want an id, a secret and a redirect URI")
			}
			if h.RedirectURIs = d.RemainingArgs(); len(h.RedirectURIs) == 0 {
				return d.Err("client: want an id, a secret and a redirect URI")
			}
		default:
			return d.Errf("demo_idp has no subdirective %q; want issuer or client", word)
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
