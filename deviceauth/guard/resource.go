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

// ResourceMetadataPath is the well-known path of protected resource metadata (RFC
// 9728 §3.1), with which a client finds the authorization server of a site. The path
// of a resource may follow it.
const ResourceMetadataPath = "/.well-known/oauth-protected-resource"

// IsMetadataPath reports whether a path is that of the metadata of a site or of a
// path of the site: the well-known path comes before the resource's own.
func IsMetadataPath(path string) bool {
	rest, ok := strings.CutPrefix(path, ResourceMetadataPath)
	return ok && (rest == "" || rest[0] == '/')
}

// A Resource serves protected resource metadata at [ResourceMetadataPath] of a
// guarded site.
type Resource struct {
	Servers  []string         // issuer URLs of the authorization servers of the resource
	Scope    deviceauth.Scope // that the resource's guards require
	Audience []string         // of the site's guards: only URLs within one of them have metadata
}

// ServeHTTP answers a metadata request (RFC 9728 §3.2). Any page may read the
// response.
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

// write writes the metadata of the URL that is asked about, under exactly this name
// (RFC 9728 §3.3), if the server would accept the URL as a resource: a client that
// then asks for a token for it must not get invalid_target.
func (s Resource) write(w http.ResponseWriter, r *http.Request) {
	about := url.URL{Path: strings.TrimPrefix(r.URL.Path, ResourceMetadataPath), RawQuery: r.URL.RawQuery}
	resource := origin(r, slices.Concat(s.Servers, s.Audience)) + about.String()
	if _, ok := deviceauth.AudienceOf(resource, s.Audience); !ok {
		why := "nothing here is known as " + deviceauth.Quotable(resource) +
			"; tokens are for: " + deviceauth.Quotable(strings.Join(s.Audience, " "))
		writeJSON(w, r, http.StatusNotFound, refusal{Error: "invalid_target", Description: why})
		return
	}
	metadata := map[string]any{
		"resource":                 resource,
		"authorization_servers":    s.Servers,
		"bearer_methods_supported": []string{"header"},
	}
	// offline_access is requested by the client and is not a scope of a resource.
	// Clients look for it in the server's metadata.
	scopes := slices.DeleteFunc(s.Scope.List(), func(scope string) bool {
		return scope == deviceauth.ScopeOfflineAccess
	})
	if len(scopes) > 0 { // §3.2: members without a value are omitted
		metadata["scopes_supported"] = scopes
	}
	w.Header().Set("Cache-Control", "public, max-age=300")
	writeJSON(w, r, http.StatusOK, metadata)
}

// A refusal is an OAuth error response (RFC 6749 §5.2).
type refusal struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// writeJSON writes a JSON document. Caches must not store it unless Cache-Control is
// already set.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	if w.Header().Get("Cache-Control") == "" {
		w.Header().Set("Cache-Control", "no-store")
	}
	response.Write(w, r, status, "application/json", response.JSON(v))
}

// metadataOf returns the URL of the metadata of the resource of a request. That is
// the innermost audience of the guard that contains the request, so that one token is
// valid for all of it, or the whole site if no audience contains it. It returns ""
// for an endpoint without metadata.
func (g *Guard) metadataOf(r *http.Request) string {
	audience := g.options.Need.Audience
	if len(audience) == 0 {
		audience = g.server.Audience()
	}
	if g.options.NoMetadata {
		return ""
	}
	site := origin(r, append([]string{g.server.Issuer()}, audience...))
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

// AskedResource is the resource that a request was for, if the request's path does
// not show it any more.
type AskedResource struct {
	Path     string // as the client sent it
	Enclosed bool   // the guard receives only requests within its block, and the metadata are below the block's path
	Block    string // the path of the block
}

type askedResource struct{}

// WithResource returns the same request with the resource that it was for.
func WithResource(r *http.Request, asked AskedResource) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), askedResource{}, asked))
}

// origin returns the origin of the guarded site. Its host comes from the Host header,
// which is used for no other address: a site is identified by its host. If the host
// is that of a known URL of the site, an audience or the issuer, the origin is
// spelled as in that URL, even behind a proxy that terminates TLS. Otherwise the
// scheme is that of the connection, or https with [WithHTTPS].
func origin(r *http.Request, known []string) string {
	scheme := "http"
	if r.TLS != nil || r.Context().Value(overHTTPS{}) != nil {
		scheme = "https"
	}
	found := scheme + "://" + r.Host
	for i := len(known) - 1; i >= 0; i-- { // backwards, so that the first known URL takes precedence
		u, err := url.Parse(known[i])
		if err == nil && u.Host != "" && canonicalHost(u.Host, u.Scheme) == canonicalHost(r.Host, u.Scheme) {
			found = u.Scheme + "://" + u.Host
		}
	}
	return found
}

// canonicalHost returns the form of a host that all its spellings share: lower case,
// without the default port.
func canonicalHost(host, scheme string) string {
	port := map[string]string{"https": ":443", "http": ":80"}[scheme]
	return strings.TrimSuffix(strings.ToLower(host), port)
}

type overHTTPS struct{}

// WithHTTPS returns the same request, marked as received over https by a trusted
// proxy.
func WithHTTPS(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), overHTTPS{}, true))
}
