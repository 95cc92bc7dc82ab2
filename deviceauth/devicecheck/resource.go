package devicecheck

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// The checks in this file look at the resource metadata of the guarded API (RFC
// 9728).

const resourceName = "/.well-known/oauth-protected-resource"

// A resource is the resource metadata of a guarded API (RFC 9728 §2).
type resource struct {
	Name    string   `json:"resource"`
	Servers []string `json:"authorization_servers"`
	Scopes  []string `json:"scopes_supported"`

	answer *answer
	at     string // the address of the metadata in the challenge
}

// resourceMetadata looks for the resource metadata: first at the address in the
// challenge (RFC 9728 §5.1), then at the well-known ones with and without the path of
// the API (§3.1). It does not ask an address on another host, because a document
// there would describe a resource of another site.
func (r *run) resourceMetadata() finding {
	if r.ownMetadata != nil {
		return skip("the URL is the server's own")
	}
	if r.site != nil && r.site.at != "" {
		if !sameOrigin(r.site.at, r.target) {
			return found("the challenge names %s as resource_metadata, which is another site's", quote(r.site.at)).
				fail("It has to be on the API's own host (RFC 9728 §3.1). Behind a proxy: pass Host on unchanged, " +
					"and let the proxy's address be the site's; with TLS ended before Caddy, the `issuer` on this " +
					"host says https.")
		}
		return r.readMetadata(r.get(r.site.at))
	}
	for _, address := range []string{wellKnown(r.target, resourceName, true),
		wellKnown(r.target, resourceName, false)} {
		if a := r.get(address); a.ok() && a.isJSON() {
			return r.readMetadata(a)
		}
	}
	return found("nothing says who guards %s: neither a challenge nor %s", r.target,
		wellKnown(r.target, resourceName, false)).
		warn("Clients find the server by that (RFC 9728); without it they need the issuer. device_auth does it on " +
			"each site where it stands.")
}

// readMetadata decodes the resource metadata and keeps them. This project answers
// invalid_target if the configured audience does not cover the URL; the finding
// differs from that of a missing route, because the remedy does.
func (r *run) readMetadata(a *answer) finding {
	site := &resource{answer: a}
	switch {
	case a.status == http.StatusNotFound && a.refusal().Error == "invalid_target":
		return found("%s: the server gives no tokens for the API's URL", a).
			warn("Programs that know only the URL, such as MCP clients, do not find the server (RFC 9728). Add "+
				"`audience %s` to the global `device_login` block, and to the guard's where that names any.",
				quote(r.target.Scheme+"://"+r.target.Host))
	case !a.ok():
		return found("%s", a).
			fail("The challenge leads here (RFC 9728 §5.1). device_auth serves it wherever it stands in a " +
				"site; look for a `handle`, `route` or proxy that takes /.well-known/ to somewhere else.")
	case !a.isJSON() || json.Unmarshal(a.body, site) != nil:
		return found("%s, which is not the JSON of RFC 9728 §3.2", a).
			fail("Something else than device_auth answers this path: look for a `handle`, `route`, `file_server` or " +
				"proxy that takes /.well-known/.")
	}
	r.site = site
	return pass("%s", a)
}

// asksFor returns what a device of this API requests: the API by its own name (RFC
// 8707), and the scopes that it needs. The operator's flags take precedence.
// Otherwise the scopes are those in the guard's challenge, which are what this very
// URL needs, or else those in the resource metadata.
func (r *run) asksFor() (audience, resource string, scopes []string) {
	audience, scopes = r.cfg.Audience, r.cfg.Scopes
	described := r.site != nil && r.site.answer != nil
	if described && audience == "" {
		resource = r.site.Name
	}
	switch {
	case len(scopes) > 0:
	case r.guarded:
		scopes = r.needs
	case described:
		scopes = r.site.Scopes
	}
	return audience, resource, scopes
}

// resourceName requires that the resource in the metadata is the URL that was asked,
// or a prefix of it. Clients must refuse any other (RFC 9728 §3.3): otherwise a site
// could make them request tokens for another API. A prefix ends at a path separator,
// so /v2 does not cover /v22.
func (r *run) resourceName() finding {
	if r.site == nil || r.site.answer == nil {
		return skip("nothing describes the API")
	}
	u, err := url.Parse(r.site.Name)
	path := ""
	if err == nil {
		path = strings.TrimSuffix(u.Path, "/")
	}
	if err != nil || u.Scheme != r.target.Scheme || !strings.EqualFold(u.Host, r.target.Host) ||
		r.target.Path != path && !strings.HasPrefix(r.target.Path, path+"/") && path != "" {
		return found("the API at %s calls itself %s; clients compare the two (RFC 9728 §3.3)", r.target,
			quote(r.site.Name)).
			fail("Behind a proxy: pass Host on unchanged (`header_up Host {hostport}`). Where TLS ends before " +
				"Caddy, the `issuer` on this host has to say https.")
	}
	return pass("the API calls itself %s", quote(r.site.Name))
}

// resourceServers judges authorization_servers, of which the first one is used.
// Another origin than the API's is reported, because a client's secret goes there,
// but it is not wrong: RFC 9728 exists for that.
func (r *run) resourceServers() finding {
	switch {
	case r.site == nil || r.site.answer == nil:
		return skip("nothing describes the API")
	case len(r.site.Servers) == 0:
		return found("%s names no authorization_servers", r.site.answer.asked).
			fail("Clients cannot find out where to ask for a token. device_auth names the `issuer`; find out " +
				"what else answers this path.")
	}
	named := quote(strings.Join(r.site.Servers, ", "))
	if r.cfg.ClientSecret != "" && !sameOrigin(r.site.Servers[0], r.target) {
		return pass("it is guarded by %s, and the client's secret will be sent there", named)
	}
	return pass("it is guarded by %s", named)
}
