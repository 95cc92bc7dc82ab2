package guard

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// ResourceMetadataPath is where a guarded site says who guards it (RFC 9728
// §3.1); the path of a resource may follow it.
const ResourceMetadataPath = "/.well-known/oauth-protected-resource"

// A Resource answers at [ResourceMetadataPath] of a guarded site.
type Resource struct {
	Servers  []string         // issuer URLs of the servers that guard what is asked about
	Scope    deviceauth.Scope // that the guards of that ask for
	Audience []string         // of the site's guards: a URL within one of them has a description, and no other
}

// ServeHTTP is RFC 9728 §3.2.
func (s Resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	const methods = "GET, HEAD, OPTIONS"
	header := w.Header()
	response.AllowAnyOrigin(header)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		s.write(w, r)
	case http.MethodOptions:
		header.Set("Allow", methods)
		response.Permit(header, methods)
		response.PermitAsked(header, r)
		w.WriteHeader(http.StatusNoContent)
	default:
		header.Set("Allow", methods)
		why := deviceauth.Quotable(r.Method) + " is not allowed here; allowed are: " + methods
		writeJSON(w, r, http.StatusMethodNotAllowed, refusal{Error: "invalid_request", Description: why})
	}
}

// write describes the URL that is asked about, under that very name (§3.3),
// if the server would take it for a resource: a client that asks for a token for
// what is described here must not hear invalid_target.
func (s Resource) write(w http.ResponseWriter, r *http.Request) {
	about := url.URL{Path: strings.TrimPrefix(r.URL.Path, ResourceMetadataPath), RawQuery: r.URL.RawQuery}
	resource := origin(r, slices.Concat(s.Servers, s.Audience)) + about.String()
	if _, ok := deviceauth.AudienceOf(resource, s.Audience); !ok {
		why := "nothing here is known as " + deviceauth.Quotable(resource) +
			"; tokens are for: " + deviceauth.Quotable(strings.Join(s.Audience, " "))
		writeJSON(w, r, http.StatusNotFound, refusal{Error: "invalid_target", Description: why})
		return
	}
	said := map[string]any{
		"resource":                 resource,
		"authorization_servers":    s.Servers,
		"bearer_methods_supported": []string{"header"},
	}
	if scopes := s.Scope.List(); len(scopes) > 0 { // §3.2: what has no element is left out
		said["scopes_supported"] = scopes
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, r, http.StatusOK, said)
}

// A refusal is an error of OAuth (RFC 6749 §5.2).
type refusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// writeJSON writes a document, which is not to be kept unless the header says how long.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	response.Write(w, r, status, "application/json", response.JSON(v))
}

// metadataOf returns where the resource is described that a request is about:
// the innermost of the guard's audiences that the request is within, so that
// clients need one token for all of it, and else the whole site (which has a
// description only if tokens are for it). It is "" for what is no site.
func (s *Guard) metadataOf(r *http.Request) string {
	audience := s.options.Need.Audience
	if len(audience) == 0 {
		audience = s.server.Audience()
	}
	if s.options.NoMetadata {
		return ""
	}
	site := origin(r, append([]string{s.server.Issuer()}, audience...))
	asked, ok := r.Context().Value(askedResource{}).(AskedResource)
	if !ok {
		asked.Path = r.URL.Path
	}
	inside := ""
	within, _ := deviceauth.AudienceOf(site+(&url.URL{Path: asked.Path}).EscapedPath(), audience)
	if u, err := url.Parse(within); err == nil {
		inside = strings.TrimSuffix(u.EscapedPath(), "/")
	}
	switch {
	case !asked.Enclosed:
		return site + ResourceMetadataPath + inside
	case inside == "":
		inside = (&url.URL{Path: asked.Block}).EscapedPath()
	}
	return site + inside + ResourceMetadataPath
}

// AskedResource is what a request was for, where its path does not say so.
type AskedResource struct {
	Path     string // as the client wrote it
	Enclosed bool   // the guard sees no requests but those of its block: its description is there
	Block    string // the path of that
}

type askedResource struct{}

// WithResource is the same request with what it was for.
func WithResource(r *http.Request, asked AskedResource) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), askedResource{}, asked))
}

// origin is the guarded site's own: the one address that the gateway takes
// from a request, because a site is what its host says. On the host of a URL
// that is known to be the site's, being an audience or the issuer, it is spelled
// like that, also behind a proxy that ends TLS; elsewhere the scheme is what the
// request came by, or [CameByHTTPS].
func origin(r *http.Request, known []string) string {
	came := "http"
	if r.TLS != nil || r.Context().Value(overHTTPS{}) != nil {
		came = "https"
	}
	found := came + "://" + r.Host
	for i := len(known) - 1; i >= 0; i-- { // the first of them has the last word
		u, err := url.Parse(known[i])
		if err == nil && u.Host != "" && bare(u.Host, u.Scheme) == bare(r.Host, u.Scheme) {
			found = u.Scheme + "://" + u.Host
		}
	}
	return found
}

// bare spells a host the one way that all its spellings share.
func bare(host, scheme string) string {
	port := map[string]string{"https": ":443", "http": ":80"}[scheme]
	return strings.TrimSuffix(strings.ToLower(host), port)
}

type overHTTPS struct{}

// CameByHTTPS is the same request, which a proxy that is trusted says it took
// by https.
func CameByHTTPS(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), overHTTPS{}, true))
}
