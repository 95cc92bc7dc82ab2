package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// ResourceMetadataPath is where a guarded site says who guards it (RFC 9728
// §3.1); the path of a resource may follow it.
const ResourceMetadataPath = "/.well-known/oauth-protected-resource"

// A Resource answers at [ResourceMetadataPath] of a guarded site.
type Resource struct {
	Issuer string           // of the server that guards it
	Scope  deviceauth.Scope // that some guard of the site asks for
}

// ServeHTTP is RFC 9728 §3.2.
func (s Resource) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	does := map[string]func(*http.Request) (*answer, error){http.MethodGet: s.metadata}
	h := &Handler{}
	a, _ := h.answer(route{methods: does, cors: corsAny}, r)
	h.cors(corsAny, w.Header(), r)
	a.write(w, r)
}

func (s Resource) metadata(r *http.Request) (*answer, error) {
	return public(jsonAnswer(http.StatusOK, map[string]any{
		"resource":                 origin(r, s.Issuer) + strings.TrimPrefix(r.URL.Path, ResourceMetadataPath),
		"authorization_servers":    []string{s.Issuer},
		"scopes_supported":         s.Scope.List(),
		"bearer_methods_supported": []string{"header"},
	})), nil
}

// metadataOf returns where the resource is described that a request is about:
// the one of the guard's audiences that the request is within, since clients
// ask for a token for what the description calls itself (RFC 8707), and else
// the whole site.
func (s *Sentry) metadataOf(r *http.Request) string {
	site, inside := origin(r, s.server.Issuer()), ""
	asked, ok := r.Context().Value(askedResource{}).(AskedResource)
	if !ok {
		asked.Path = r.URL.Path
	}
	audience := s.guard.Need.Audience
	if len(audience) == 0 {
		audience = s.server.Audience()
	}
	for _, a := range audience {
		path, ok := strings.CutPrefix(a, site)
		path = strings.TrimSuffix(path, "/")
		rest, below := strings.CutPrefix(asked.Path, path)
		if ok && below && (rest == "" || rest[0] == '/') && len(path) > len(inside) {
			inside = path
		}
	}
	switch {
	case !asked.Enclosed:
		return site + ResourceMetadataPath + inside
	case inside == "":
		inside = asked.Block
	}
	return site + (&url.URL{Path: inside}).EscapedPath() + ResourceMetadataPath
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
// from a request, because a site is what its host says. On the issuer's
// host the scheme is the issuer's, also behind a proxy that ends TLS; elsewhere
// it is what the request came by, or [CameByHTTPS].
func origin(r *http.Request, issuer string) string {
	u, err := url.Parse(issuer)
	switch {
	case err == nil && bare(u.Host, u.Scheme) == bare(r.Host, u.Scheme):
		return u.Scheme + "://" + u.Host
	case r.TLS != nil || r.Context().Value(cameByHTTPS{}) != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// bare spells a host the one way that all its spellings share.
func bare(host, scheme string) string {
	port := map[string]string{"https": ":443", "http": ":80"}[scheme]
	return strings.TrimSuffix(strings.ToLower(host), port)
}

type cameByHTTPS struct{}

// CameByHTTPS is the same request, which a proxy that is trusted says it took
// by https.
func CameByHTTPS(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), cameByHTTPS{}, true))
}
