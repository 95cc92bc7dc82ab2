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
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

//go:embed pages
var files embed.FS

var loginPage = template.Must(template.ParseFS(files, "pages/login.html"))

// A provider is the OpenID provider without Caddy.
type provider struct {
	storage *storage
	library *op.Provider
	mux     *http.ServeMux
}

func newProvider(issuer string, c client) (*provider, error) {
	s, err := newStorage(issuer, c)
	if err != nil {
		return nil, err
	}
	config := &op.Config{
		CodeMethodS256:  true,
		SupportedScopes: []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, "groups"},
	}
	rand.Read(config.CryptoKey[:])
	library, err := op.NewProvider(config, s, op.StaticIssuer(issuer), op.WithAllowInsecure(), op.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return nil, fmt.Errorf("demo_idp: %w", err)
	}
	p := &provider{s, library, http.NewServeMux()}
	p.mux.Handle("/", library)
	p.mux.HandleFunc("GET /{$}", p.welcome)
	p.mux.HandleFunc("GET /login", p.login)
	p.mux.HandleFunc("POST /login", p.signIn)
	p.mux.Handle("GET /pages/", http.FileServerFS(files))
	p.mux.HandleFunc("GET /avatar/{file}", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFileFS(w, r, files, "pages/"+r.PathValue("file"))
	})
	return p, nil
}

// welcome is for who comes here by hand.
func (p *provider) welcome(w http.ResponseWriter, _ *http.Request) {
	p.show(w, "", "")
}

const sessionCookie = "demo_session"

// login asks who is there, or goes on at once for a browser that has signed in
// before, unless the request wants the question to be asked (OpenID Connect
// Core §3.1.2.1, prompt).
func (p *provider) login(w http.ResponseWriter, r *http.Request) {
	asked, err := p.storage.request(r.FormValue("id"))
	if err != nil {
		http.Error(w, "This sign-in is over. Go back to your device's code page and begin again.", http.StatusBadRequest)
		return
	}
	prompts := asked.asked.Prompt
	if !slices.Contains(prompts, oidc.PromptSelectAccount) && !slices.Contains(prompts, oidc.PromptLogin) {
		if s, ok := p.session(r); ok {
			p.finish(w, r, asked.id, s)
			return
		}
	}
	target, err := url.Parse(asked.asked.RedirectURI)
	if err != nil {
		http.Error(w, "The sign-in names no address to return to.", http.StatusBadRequest)
		return
	}
	p.show(w, asked.id, target.Scheme+"://"+target.Host)
}

// show renders the page. Chrome applies form-action to the redirects that
// follow a form, so the client's origin is named in it.
func (p *provider) show(w http.ResponseWriter, id, target string) {
	var page bytes.Buffer
	err := loginPage.Execute(&page, map[string]any{"ID": id, "Accounts": accounts})
	if err != nil {
		http.Error(w, "The login page cannot be shown.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self' "+target+"; frame-ancestors 'none'; base-uri 'none'")
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
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

// signIn takes the click on an account.
func (p *provider) signIn(w http.ResponseWriter, r *http.Request) {
	a, ok := accountByID(r.FormValue("user"))
	if !ok || http.NewCrossOriginProtection().Check(r) != nil {
		http.Error(w, "Choose one of the accounts on the login page.", http.StatusBadRequest)
		return
	}
	s, id := session{a.ID, time.Now()}, rand.Text()
	p.storage.mu.Lock()
	p.storage.sessions.put(id, s, sessionTime)
	p.storage.mu.Unlock()
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: id, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode, MaxAge: int(sessionTime / time.Second)})
	p.finish(w, r, r.FormValue("id"), s)
}

func (p *provider) finish(w http.ResponseWriter, r *http.Request, id string, s session) {
	if err := p.storage.signIn(id, s.account, s.since); err != nil {
		http.Error(w, "This sign-in is over. Go back to your device's code page and begin again.", http.StatusBadRequest)
		return
	}
	ctx := op.ContextWithIssuer(r.Context(), p.storage.issuer)
	http.Redirect(w, r, op.AuthCallbackURL(p.library)(ctx, id), http.StatusSeeOther)
}
