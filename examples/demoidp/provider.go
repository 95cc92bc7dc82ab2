package demoidp

import (
	"bytes"
	"crypto/rand"
	"embed"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

//go:embed pages
var files embed.FS

var loginPage = template.Must(template.ParseFS(files, "pages/login.html"))

// A provider is the OpenID provider without Caddy. The library serves the
// protocol's endpoints; the mux serves the pages, and passes other requests to
// the library.
type provider struct {
	storage *storage
	library *op.Provider
	mux     *http.ServeMux
}

// newProvider puts the login page in front of the library. The issuer is
// static: the Host of a request never becomes part of a token.
func newProvider(issuer string, c client, m *memory) (*provider, error) {
	s := &storage{memory: m, issuer: issuer, client: c}
	// S256 is the only challenge method (RFC 7636 §4.2); plain protects
	// nothing.
	config := &op.Config{
		CryptoKey:                m.crypto,
		CodeMethodS256:           true,
		SupportedScopes:          []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, "groups"},
		DefaultLogoutRedirectURI: issuer + "/",
	}
	// Only the gateway's server uses the endpoints, so there is no CORS, and
	// the gateway logs what they refuse.
	library, err := op.NewProvider(config, s, op.StaticIssuer(issuer),
		op.WithAllowInsecure(), op.WithCORSOptions(nil), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("demo_idp: %w", err)
	}
	p := &provider{storage: s, library: library, mux: http.NewServeMux()}
	p.mux.Handle("/", library)
	p.mux.HandleFunc("GET /{$}", p.welcome)
	p.mux.HandleFunc("GET /login", p.login)
	p.mux.HandleFunc("POST /login", p.signIn)
	p.mux.HandleFunc("GET /login.css", func(w http.ResponseWriter, r *http.Request) { serve(w, r, "login.css") })
	p.mux.HandleFunc("GET /avatar/{file}", avatar)
	return p, nil
}

// avatar serves the picture of an account. Only the pictures of accounts are
// served, whatever the path says.
func avatar(w http.ResponseWriter, r *http.Request) {
	a, ok := accountByID(strings.TrimSuffix(r.PathValue("file"), ".svg"))
	if !ok {
		http.NotFound(w, r)
		return
	}
	serve(w, r, a.ID+".svg")
}

// serve sends an embedded file. Opened by itself, a picture is a document that
// could run scripts; the policy prevents that.
func serve(w http.ResponseWriter, r *http.Request, name string) {
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	http.ServeFileFS(w, r, files, "pages/"+name)
}

// welcome shows the page to a person who opens the issuer's URL directly.
func (p *provider) welcome(w http.ResponseWriter, _ *http.Request) {
	p.show(w, "", "")
}

// sessionCookie has no prefix __Host-, which browsers accept only with https.
const sessionCookie = "demo_session"

// login shows the accounts, or continues at once for a browser that has signed
// in before, unless the request requires the page (OpenID Connect Core
// §3.1.2.1, prompt and max_age). With prompt=none no page may be shown, and the
// answer is login_required.
func (p *provider) login(w http.ResponseWriter, r *http.Request) {
	asked, err := p.storage.request(r.FormValue("id"))
	if err != nil {
		http.Error(w, "This sign-in is over. Go back to your device's code page and begin again.",
			http.StatusBadRequest)
		return
	}
	if s, ok := p.session(r); ok && !asked.insists(s) {
		p.finish(w, r, asked.id, s)
		return
	}
	if asked.silent() {
		op.AuthRequestError(w, r, asked, oidc.ErrLoginRequired().WithDescription("nobody is signed in"), p.library)
		return
	}
	target, err := url.Parse(asked.asked.RedirectURI)
	if err != nil {
		http.Error(w, "The sign-in names no address to return to.", http.StatusBadRequest)
		return
	}
	p.show(w, asked.id, target.Scheme+"://"+target.Host)
}

// show renders the page. Chrome applies form-action to the redirects that
// follow a form, so the client's origin is named in it. The page has no
// scripts, and nothing from another origin.
func (p *provider) show(w http.ResponseWriter, id, target string) {
	var page bytes.Buffer
	err := loginPage.Execute(&page, map[string]any{"ID": id, "Accounts": accounts})
	if err != nil {
		http.Error(w, "The login page cannot be shown.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy",
		"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self' "+target+
			"; frame-ancestors 'none'; base-uri 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(page.Bytes())
}

func (p *provider) session(r *http.Request) (session, bool) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return session{}, false
	}
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	return p.storage.sessions.get(cookie.Value)
}

// signIn handles the click on an account.
func (p *provider) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10) // an id and a name
	a, ok := accountByID(r.PostFormValue("user"))
	if !ok || http.NewCrossOriginProtection().Check(r) != nil {
		http.Error(w, "Choose one of the accounts on the login page.", http.StatusBadRequest)
		return
	}
	s, id := session{account: a.ID, since: time.Now()}, rand.Text()
	p.storage.mu.Lock()
	p.storage.sessions.put(id, s, sessionTime)
	p.storage.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: id, Path: "/", HttpOnly: true,
		SameSite: http.SameSiteLaxMode, MaxAge: int(sessionTime / time.Second)})
	p.finish(w, r, r.PostFormValue("id"), s)
}

func (p *provider) finish(w http.ResponseWriter, r *http.Request, id string, s session) {
	if err := p.storage.signIn(id, s.account, s.since); err != nil {
		http.Error(w, "This sign-in is over. Go back to your device's code page and begin again.",
			http.StatusBadRequest)
		return
	}
	ctx := op.ContextWithIssuer(r.Context(), p.storage.issuer)
	http.Redirect(w, r, op.AuthCallbackURL(p.library)(ctx, id), http.StatusSeeOther)
}
