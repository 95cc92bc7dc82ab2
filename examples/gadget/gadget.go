// Package gadget serves a web page that acts as a device: it requests a code,
// shows it, waits, and then calls the guarded API with the token that it
// received. It shows what a device does, in a script that can be read. It
// decides nothing about who may do what, and keeps nothing: the page talks to
// the gateway by itself. Only the demo binary includes it, as the Caddy handler
// demo_gadget.
package gadget

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"html/template"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Handler{})
	httpcaddyfile.RegisterHandlerDirective("demo_gadget", parse)
	httpcaddyfile.RegisterDirectiveOrder("demo_gadget", httpcaddyfile.Before, "respond")
}

//go:embed page
var files embed.FS

// Handler serves the page at the end of whatever path it is mounted on.
// The fields become part of the page, through html/template.
type Handler struct {
	// The client_id that the page uses. Default: cool-gadget.
	ClientID string `json:"client_id,omitempty"`
	// The scope that it asks for. Default: openid profile email
	// offline_access products:read.
	Scope string `json:"scope,omitempty"`
	// The path of the API that it calls. Default: /api/products.
	API string `json:"api,omitempty"`
	// The URL of the page, which is logged when the handler is loaded. Default:
	// none.
	URL string `json:"url,omitempty"`

	pages map[string]file
}

// A file is the response for one name. All files are held in memory, and
// rendered once for each configuration.
type file struct {
	body []byte
	kind string
	etag string
}

// CaddyModule returns the module's registration.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.demo_gadget", New: func() caddy.Module { return new(Handler) }}
}

// Provision fills in the defaults and renders the page.
func (h *Handler) Provision(ctx caddy.Context) error {
	if h.URL != "" {
		ctx.Logger().Info("begin here: open this page in a browser", zap.String("url", h.URL))
	}
	for _, option := range []struct {
		is  *string
		def string
	}{
		{&h.ClientID, "cool-gadget"},
		{&h.Scope, "openid profile email offline_access products:read"},
		{&h.API, "/api/products"},
	} {
		if *option.is == "" {
			*option.is = option.def
		}
	}
	index, err := template.ParseFS(files, "page/index.html")
	if err != nil {
		return err
	}
	var page bytes.Buffer
	if err := index.Execute(&page, h); err != nil {
		return err
	}
	h.pages = map[string]file{"": newFile(page.Bytes(), "text/html; charset=utf-8")}
	for name, kind := range map[string]string{"gadget.css": "text/css; charset=utf-8",
		"gadget.js": "text/javascript; charset=utf-8"} {
		body, err := files.ReadFile("page/" + name)
		if err != nil {
			return err
		}
		h.pages[name] = newFile(body, kind)
	}
	return nil
}

// newFile returns a file with its ETag, which depends only on the content, so a
// reload with the same page invalidates nothing.
func newFile(body []byte, kind string) file {
	sum := sha256.Sum256(body)
	return file{body: body, kind: kind, etag: `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// policy is the page's Content-Security-Policy. Pictures may come from
// anywhere by https, since the API's products have some.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' https: http://localhost:* " +
	"data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"

// ServeHTTP implements caddyhttp.MiddlewareHandler. Names that the page does
// not have, and methods other than GET and HEAD, are passed to the next
// handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return next.ServeHTTP(w, r)
	}
	// The handler does not know where it is mounted, so the last part of the
	// path decides.
	name := path.Base(r.URL.Path)
	if strings.HasSuffix(r.URL.Path, "/") {
		name = ""
	}
	if name == "qr.svg" {
		return serveQR(w, r)
	}
	f, ok := h.pages[name]
	if !ok {
		return next.ServeHTTP(w, r)
	}
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("Content-Type", f.kind)
	header.Set("ETag", f.etag)
	header.Set("Cache-Control", "no-cache")
	header.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(f.body)) // answers If-None-Match
	return nil
}

// parse is the directive's setup function. The defaults are Provision's, so
// that they also apply to JSON configurations.
func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	g := new(Handler)
	return g, g.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile reads the directive, in which everything has a default:
//
//	demo_gadget {
//		client_id <id>
//		scope     <scopes>
//		api       <path>
//		url       <url>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if d.NextArg() {
		return d.ArgErr()
	}
	options := map[string]*string{"client_id": &h.ClientID, "scope": &h.Scope, "api": &h.API, "url": &h.URL}
	for d.NextBlock(0) {
		word := d.Val()
		option, ok := options[word]
		if !ok {
			return d.Errf("demo_gadget has no subdirective %q; want client_id, scope, api or url", word)
		}
		if !d.AllArgs(option) {
			return d.Errf("%s: want one argument", word)
		}
	}
	return nil
}

var (
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
