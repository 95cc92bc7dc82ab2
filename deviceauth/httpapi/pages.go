package httpapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"net/http"
	"regexp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

//go:embed pages
var pageFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{"plain": deviceauth.Plain}).ParseFS(pageFiles, "pages/*.html"))

// Brand is how the pages look.
type Brand struct {
	Name  string `json:"name,omitempty"`  // who runs the gateway; default: the issuer's host
	Logo  string `json:"logo,omitempty"`  // address of a picture, from the site's root or https
	Color string `json:"color,omitempty"` // #rrggbb of buttons and links
}

var hexColor = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

// Check says what is wrong with a brand.
func (b Brand) Check() error {
	if b.Color != "" && !hexColor.MatchString(b.Color) {
		return fmt.Errorf("brand color %q: want #rrggbb", b.Color)
	}
	return nil
}

// pages renders templates and serves what they refer to.
type pages struct {
	brand  Brand
	base   string // path of the code page; everything else lies below it
	assets map[string]asset
}

type asset struct {
	body        []byte
	contentType string
	etag        string
}

func newPages(b Brand, p Paths) (*pages, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	style, err := pageFiles.ReadFile("pages/style.css")
	if err != nil {
		return nil, err
	}
	if b.Color != "" { // last, so that it wins; checked, so that it is a colour
		style = append(style, "\n:root{--accent:"+b.Color+";--on-accent:"+contrast(b.Color)+"}\n"...)
	}
	script, err := pageFiles.ReadFile("pages/script.js")
	if err != nil {
		return nil, err
	}
	return &pages{b, p.Device, map[string]asset{
		"style.css": newAsset(style, "text/css; charset=utf-8"),
		"script.js": newAsset(script, "text/javascript; charset=utf-8"),
	}}, nil
}

// contrast picks the text colour that is the easier to read on a colour, by
// the relative luminance of WCAG 2 §1.4.3, roughly: its weights without its curve.
func contrast(color string) string {
	var rgb [3]byte
	hex.Decode(rgb[:], []byte(color[1:])) // checked by Brand.Check
	if 0.2126*float64(rgb[0])+0.7152*float64(rgb[1])+0.0722*float64(rgb[2]) > 140 {
		return "#000"
	}
	return "#fff"
}

func newAsset(body []byte, contentType string) asset {
	sum := sha256.Sum256(body)
	return asset{body, contentType, `"` + hex.EncodeToString(sum[:8]) + `"`}
}

// asset serves a file that pages refer to; browsers ask whether it changed.
func (p *pages) asset(name string) func(*http.Request) (*answer, error) {
	return func(r *http.Request) (*answer, error) {
		file := p.assets[name]
		a := newAnswer(http.StatusOK, file.contentType, file.body)
		if r.Header.Get("If-None-Match") == file.etag {
			a = newAnswer(http.StatusNotModified, "", nil)
		}
		return a.set("ETag", file.etag).set("Cache-Control", "no-cache").set("X-Content-Type-Options", "nosniff"), nil
	}
}

// A page is what a template is given: the common part, and its own.
type page struct {
	Title string
	Brand Brand
	Base  string
	Style string // tags that change with the files, so that no cache shows an old one
	Data  any
}

// policy is the same on every page: nothing but our own files, and pictures.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' https: data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// render makes the whole page before anything is written.
func (p *pages) render(status int, name, title string, data any) (*answer, error) {
	var body bytes.Buffer
	v := page{title, p.brand, p.base, p.assets["style.css"].etag, data}
	if err := templates.ExecuteTemplate(&body, name+".html", v); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	a := newAnswer(status, "text/html; charset=utf-8", body.Bytes())
	a.set("Content-Security-Policy", policy).set("Referrer-Policy", "no-referrer").set("X-Content-Type-Options", "nosniff")
	return a.set("X-Frame-Options", "DENY").set("Cache-Control", "no-store").set("Content-Language", "en"), nil
}
