package caddymodule

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// Site is for JSON configurations whose guards are in routes with matchers. In a
// route without matchers, before the guards, it does for the whole site what
// `device_auth` does for the requests that reach it: it refuses request targets that
// are not a path, strips identity headers and the cookies of our own pages from every
// request, even if no guard matches it, and serves the site's metadata (RFC 9728).
// Because the routes see only one spelling of a path, it refuses paths that some
// server may read differently. In a Caddyfile it is not needed: there each guard sees
// the whole site, and has its matcher inside.
type Site struct {
	// Identity headers that guards of the site add or rename.
	Headers []string `json:"headers,omitempty"`
	// The issuer of the server that guards the site, if it is another Caddy's.
	// Default: this one's.
	Issuer string `json:"issuer,omitempty"`
	// The scopes that its guard requires, if that is in another Caddy.
	Scopes []string `json:"scopes,omitempty"`

	sites    *sites
	pipeline guard.Pipeline // only the first step is used
}

// CaddyModule returns the module's registration.
func (Site) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.device_auth_site", New: func() caddy.Module { return new(Site) }}
}

// Provision finds the sites, and the app if the site is guarded by this Caddy's
// server.
func (s *Site) Provision(ctx caddy.Context) (err error) {
	s.pipeline = guard.Pipeline{Reserved: guard.Options{}.ReservedHeaders(), Trusted: isTrusted, Plain: true}
	for _, name := range s.Headers {
		s.pipeline.Reserved.Add(name)
	}
	if s.sites, err = findSites(ctx); err != nil || s.Issuer != "" {
		return err
	}
	_, err = findApp(ctx) // without an app, the metadata would name no server
	return err
}

// ServeHTTP implements caddyhttp.MiddlewareHandler. It does not authenticate: it
// cleans every request, refuses ambiguous paths, and serves the metadata of the site.
// The guards behind it decide.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if err := s.pipeline.Clean(r, &requestIdentityOf(r).State); err != nil {
		countDecision(guard.Malformed)
		reqbody.Discard(w, r, caddy.Exiting)
		err = caddyhttp.Error(http.StatusBadRequest, err)
		hide(r, err)
		return err
	}
	if !guard.IsMetadataPath(r.URL.Path) {
		return next.ServeHTTP(w, r)
	}
	reqbody.Discard(w, r, caddy.Exiting)
	s.resource(r).ServeHTTP(w, withForwardedProto(r))
	return nil
}

// resource returns the metadata of the requested path. If an issuer is configured,
// the guards are in another Caddy and not visible here, so issuer and scopes come
// from the configuration.
func (s *Site) resource(r *http.Request) guard.Resource {
	about := s.sites.resource(r, strings.TrimPrefix(r.URL.Path, guard.ResourceMetadataPath))
	if s.Issuer == "" {
		return about
	}
	about.Servers, about.Scope = []string{s.Issuer}, deviceauth.NewScope(append(about.Scope.List(), s.Scopes...)...)
	if len(about.Audience) == 0 {
		about.Audience = []string{s.Issuer}
	}
	return about
}

// hide replaces the URL of a refused request before error routes run. Otherwise a
// file_server or reverse_proxy in them would serve the resource that was refused.
// Error routes that rewrite to an error page work as before, and
// {http.request.orig_uri} still has the requested URL.
func hide(r *http.Request, err error) {
	guard.StripOverrides(r, isTrusted(r)) // otherwise a header could name the resource again
	r.Header.Del("Destination")
	status := http.StatusServiceUnavailable
	var handler caddyhttp.HandlerError
	if errors.As(err, &handler) {
		status = handler.StatusCode
	}
	elsewhere := url.URL{Path: "/.device_auth/" + strconv.Itoa(status)}
	*r.URL, r.RequestURI = elsewhere, elsewhere.Path
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		*original.URL = elsewhere // Caddy restores this URL for its error routes
	}
}

var (
	_ caddyhttp.MiddlewareHandler = (*Site)(nil)
	_ caddy.Provisioner           = (*Site)(nil)
)
