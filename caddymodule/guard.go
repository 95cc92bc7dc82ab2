package caddymodule

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// Guard lets requests with a valid bearer token through, and tells the
// backend who asks in Remote-User, Remote-Email, Remote-Name, Remote-Groups,
// Remote-Client and Remote-Scopes, whatever the request said under these names.
type Guard struct {
	// Scopes that the token must have, all of them.
	Scopes []string `json:"scopes,omitempty"`
	// Audiences of which the token must have one. Default: the server's.
	Audience []string `json:"audience,omitempty"`
	// Let requests without credentials through, without identity.
	Optional bool `json:"optional,omitempty"`
	// What becomes of the Authorization header: strip (default) or keep.
	Authorization string `json:"authorization,omitempty"`
	// Identity headers beside the default ones, or renaming one of them.
	Headers []httpapi.IdentityHeader `json:"headers,omitempty"`
	// Also accept the token as the password of HTTP Basic.
	Basic bool `json:"basic,omitempty"`
	// Who answers CORS preflights: the guard (default), or pass: the backend.
	Preflight string `json:"preflight,omitempty"`

	app   *App
	owned httpapi.Owned
}

// CaddyModule returns the module's registration.
func (Guard) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.device_auth", New: func() caddy.Module { return new(Guard) }}
}

// Provision finds the app and enlists at it.
func (g *Guard) Provision(ctx caddy.Context) (err error) {
	if g.app, err = findApp(ctx); err != nil {
		return err
	}
	g.owned = g.config().Owned()
	g.app.guards = append(g.app.guards, g)
	return nil
}

// Validate implements caddy.Validator.
func (g *Guard) Validate() error {
	if g.Authorization != "" && g.Authorization != "strip" && g.Authorization != "keep" {
		return fmt.Errorf("authorization %q: want strip or keep", g.Authorization)
	}
	if g.Preflight != "" && g.Preflight != "pass" {
		return fmt.Errorf("preflight %q: want pass", g.Preflight)
	}
	for _, h := range g.Headers {
		if h.Name == "" || h.Claim == "" {
			return errors.New("header: want the name of a header and of a claim")
		}
	}
	return nil
}

func (g *Guard) config() httpapi.Guard {
	return httpapi.Guard{
		Need:     deviceauth.Requirement{Audience: g.Audience, Scope: deviceauth.NewScope(g.Scopes...)},
		Optional: g.Optional, KeepToken: g.Authorization == "keep", Basic: g.Basic, PassPreflight: g.Preflight == "pass", Headers: g.Headers,
	}
}

var errDots = errors.New("the path has a dot segment")

// tokenVar hands the token to a second guard on the same request.
const tokenVar = "device_auth.token"

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	g.owned.Strip(r)
	if ambiguous(r.URL.Path) {
		return caddyhttp.Error(http.StatusBadRequest, errDots)
	}
	s, leave, err := g.app.serving(w, r)
	if err != nil {
		return err
	}
	if describesResource(r) {
		defer leave()
		g.app.describe(s, w, r)
		return nil
	}
	sentry := s.sentry(g)
	pass, err := g.check(sentry, w, r)
	leave() // before the backend, which may take hours
	if err != nil || !pass {
		return err
	}
	if origin, ok := sentry.Origin(r); ok {
		w = &corsWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, origin: origin}
	}
	return next.ServeHTTP(w, r)
}

// check decides on the request and makes it ready for the backend.
func (g *Guard) check(sentry *httpapi.Sentry, w http.ResponseWriter, r *http.Request) (pass bool, err error) {
	if sentry.Preflight(w.Header(), r) {
		w.WriteHeader(http.StatusNoContent)
		return false, nil
	}
	known, _ := caddyhttp.GetVar(r.Context(), tokenVar).(string)
	id, token, err := sentry.Admit(r, known)
	var challenge *httpapi.Challenge
	switch {
	case errors.As(err, &challenge):
		return false, refuse(sentry, w, r, challenge)
	case err != nil:
		return false, unavailable(w, err)
	case id != nil:
		caddyhttp.SetVar(r.Context(), tokenVar, token)
		sentry.Identify(r, id)
	}
	setPlaceholders(r, id)
	return true, nil
}

// refuse goes through Caddy's handle_errors.
func refuse(sentry *httpapi.Sentry, w http.ResponseWriter, r *http.Request, c *httpapi.Challenge) error {
	w.Header().Set("WWW-Authenticate", c.Header)
	w.Header().Set("Cache-Control", "no-store")
	if origin, ok := sentry.Origin(r); ok {
		allowOrigin(w.Header(), origin)
	}
	return caddyhttp.Error(c.Status, c)
}

// placeholders are what {http.auth.user.*} serves, with the claims behind them.
var placeholders = map[string]string{
	"id": "user", "sub": "sub", "client": "client_id", "scopes": "scope", "email": "email", "name": "name", "groups": "groups",
}

// setPlaceholders serves header_up and the access log. They are empty for an
// anonymous request: header_up would forward an unset one as it is written.
func setPlaceholders(r *http.Request, id *deviceauth.Identity) {
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	for name, claim := range placeholders {
		value := ""
		if id != nil {
			value = httpapi.Claim(id, claim)
		}
		repl.Set("http.auth.user."+name, value)
	}
}

// corsWriter adds CORS headers for the page of a device where the backend,
// which knows nothing of such pages, set none.
type corsWriter struct {
	*caddyhttp.ResponseWriterWrapper
	origin string
	wrote  bool
}

func (w *corsWriter) WriteHeader(status int) {
	if !w.wrote && status >= 200 {
		w.wrote = true
		if w.Header().Get("Access-Control-Allow-Origin") == "" {
			allowOrigin(w.Header(), w.origin)
		}
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *corsWriter) Write(b []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.Write(b)
}

func allowOrigin(header http.Header, origin string) {
	header.Set("Access-Control-Allow-Origin", origin)
	header.Set("Access-Control-Expose-Headers", "WWW-Authenticate")
	header.Add("Vary", "Origin")
}

var (
	_ caddyhttp.MiddlewareHandler = (*Guard)(nil)
	_ caddy.Provisioner           = (*Guard)(nil)
	_ caddy.Validator             = (*Guard)(nil)
)
