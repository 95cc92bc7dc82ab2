package pages

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"golang.org/x/text/language"

	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

//go:embed templates
var ownFiles embed.FS

// templates are ours. Each renderer has a copy, which an operator's templates
// override.
var templates = template.Must(
	template.New("").Funcs(template.FuncMap{"plain": text.Plain}).ParseFS(ownFiles, "templates/*.html"))

// A renderer renders templates and serves their assets.
type renderer struct {
	brand     Brand
	base      string // path of the code page; everything else lies below it
	templates *template.Template
	languages *catalogs
	assets    map[string]asset
}

// An asset is a file that pages refer to, with the ETag of its content.
type asset struct {
	body        []byte
	contentType string
	etag        string
}

// assetTypes are the content types of the assets, by name.
var assetTypes = map[string]string{
	"style.css": "text/css; charset=utf-8",
	"script.js": "text/javascript; charset=utf-8",
}

// newRenderer reads our files, and an operator's files, which override them.
func newRenderer(b Brand, base, host string) (*renderer, error) {
	// People see the host in the address bar, so it is a name that cannot mislead.
	if b.Name == "" {
		b.Name = host
	}
	made := &renderer{brand: b, base: base, assets: map[string]asset{}}
	ours, err := fs.Sub(ownFiles, "templates")
	if err != nil {
		return nil, err
	}
	// A copy, because a template that has been executed cannot be cloned or changed.
	if made.templates, err = templates.Clone(); err != nil {
		return nil, err
	}
	// Ours first, because they define the keys.
	words := map[language.Tag]messages{}
	if err := readCatalogs(words, ours, "languages"); err != nil {
		return nil, err
	}
	folders := []fs.FS{ours}
	if b.Templates != "" {
		theirs := os.DirFS(b.Templates)
		if err := made.readTemplates(theirs, words); err != nil {
			return nil, fmt.Errorf("brand templates %s: %w", b.Templates, err)
		}
		folders = append(folders, theirs)
	}
	if made.languages, err = newCatalogs(words); err != nil {
		return nil, err
	}
	if err := made.readAssets(folders); err != nil {
		return nil, err
	}
	return made, made.try()
}

// readTemplates reads an operator's templates and languages.
func (p *renderer) readTemplates(folder fs.FS, words map[language.Tag]messages) error {
	names, err := fs.Glob(folder, "*.html")
	if err != nil {
		return err
	}
	// A missing folder has no files either; Stat returns an error that names it.
	if _, err := fs.Stat(folder, "."); err != nil {
		return err
	}
	if len(names) > 0 {
		if _, err := p.templates.ParseFS(folder, names...); err != nil {
			return err
		}
	}
	return readCatalogs(words, folder, "languages")
}

// readAssets reads the style sheet and the script. An operator's style sheet is
// appended to ours, and an operator's script replaces ours.
func (p *renderer) readAssets(folders []fs.FS) error {
	style, script := []byte(nil), []byte(nil)
	for i, folder := range folders {
		more, err := fs.ReadFile(folder, "style.css")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if style = append(style, more...); i == 0 {
			style = append(style, p.brand.style()...)
		}
		other, err := fs.ReadFile(folder, "script.js")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			script = other
		}
	}
	for name, body := range map[string][]byte{"style.css": style, "script.js": script} {
		// The ETag depends only on the content: all gateways have the same one, and a
		// reload of the configuration changes it only if a file has changed.
		sum := sha256.Sum256(body)
		p.assets[name] = asset{
			body: body, contentType: assetTypes[name], etag: `"` + hex.EncodeToString(sum[:8]) + `"`,
		}
	}
	return nil
}

// asset serves a file that pages refer to, with conditional requests (RFC 9110
// §13.1.2). http.ServeContent is not used because it also supports ranges and lists
// of ETags.
func (p *renderer) asset(name string) func(*http.Request) (*endpoint.Response, error) {
	return func(r *http.Request) (*endpoint.Response, error) {
		file := p.assets[name]
		a := endpoint.NewResponse(http.StatusOK, file.contentType, file.body)
		if r.Header.Get("If-None-Match") == file.etag {
			a = endpoint.NewResponse(http.StatusNotModified, "", nil)
		}
		return a.Set("ETag", file.etag).Set("Cache-Control", "no-cache").Set("X-Content-Type-Options", "nosniff"), nil
	}
}

// A page is the data of a template: the common part, the page's own in Data, and the
// language. Operators' templates rely on these names.
type page struct {
	Title   string
	Brand   Brand
	Base    string // path of the code page; the other pages lie below it
	Data    any
	Account account
	*localizer
}

// An account is the signed-in person, for the footer of every page.
type account struct {
	Person string // empty: not signed in
	Ticket string // for the form that signs out
}

// page renders a page with the signed-in person in the footer. The footer has no
// name if the person cannot be determined, as on the error page while the store is
// unavailable, and none for a script on this host, which could submit forms with the
// ticket.
func (h *Handler) page(r *http.Request, status int, name string, title Message, data any) (*endpoint.Response, error) {
	person, err := h.account(r)
	if err != nil {
		return nil, err
	}
	return h.renderer.render(r, status, name, title, data, person)
}

// account returns the signed-in person for the footer of a page. It is empty for a
// request that is not a navigation.
func (h *Handler) account(r *http.Request) (found account, err error) {
	// A script that fetches a page must not get the ticket, with which it could
	// submit forms.
	if !isNavigation(r) {
		return found, nil
	}
	// While the store is unavailable the page has no name; it may be the error page
	// itself.
	s, err := h.session(r)
	if err != nil || s == nil {
		return found, nil
	}
	found.Person = s.Person.Name()
	found.Ticket, err = h.sealFormToken(formToken{Session: s.ID})
	return found, err
}

// policy is the Content-Security-Policy of all pages: only our own files, and
// pictures.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' https: data:; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// render renders the whole page before anything is written.
func (p *renderer) render(
	r *http.Request, status int, name string, title Message, data any, person account,
) (*endpoint.Response, error) {
	var body bytes.Buffer
	s := p.languages.forRequest(r)
	if err := p.execute(&body, s, name, title, data, person); err != nil {
		return nil, err
	}
	a := endpoint.NewResponse(status, "text/html; charset=utf-8", body.Bytes())
	// Windows that opened this page, or that it opens, keep no reference to it.
	response.Isolate(a.Header)
	a.Set("Content-Security-Policy", policy).Set("X-Frame-Options", "DENY")
	a.Set("Referrer-Policy", "no-referrer").Set("X-Content-Type-Options", "nosniff").Set("Cache-Control", "no-store")
	return a.Set("Content-Language", s.Lang).Set("Vary", "Accept-Language"), nil
}

// execute executes a template with what all pages have in common.
func (p *renderer) execute(to *bytes.Buffer, s *localizer, name string, title Message, data any, person account) error {
	given := page{Title: s.text(title), Brand: p.brand, Base: p.base, Data: data, Account: person, localizer: s}
	if err := p.templates.ExecuteTemplate(to, name+".html", given); err != nil {
		return fmt.Errorf("rendering %s: %w", name, err)
	}
	return nil
}

// try renders every page once in every language, so that a mistake in a template or
// text is found when it is loaded.
func (p *renderer) try() (formless error) {
	for i := range p.languages.tags {
		for j, s := range samples {
			var body bytes.Buffer
			person := []account{{}, {Person: "Alice", Ticket: "x"}}[j%2]
			if err := p.execute(&body, p.languages.byIndex(i), s.name, s.title, s.data, person); err != nil {
				return err
			}
			if strings.Contains(fmt.Sprint(s.data), sampleTicket) && !strings.Contains(body.String(), sampleTicket) {
				formless = fmt.Errorf("%s.html: a form lacks its hidden field, as ours has it: "+
					"the form could not be submitted", s.name)
			}
			if _, wrong, found := bytes.Cut(body.Bytes(), []byte("%!")); found { // an error of package fmt
				return fmt.Errorf("%s in %s: a text has a %% too many, or one that does not fit: %%!%.30s",
					s.name, p.languages.tags[i], wrong)
			}
		}
	}
	return formless // after errors that have a line number
}
