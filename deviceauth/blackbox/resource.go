package blackbox

import (
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// What a guarded API says to who has no token (RFC 6750), and of itself (RFC
// 9728).

const resourceName = "/.well-known/oauth-protected-resource"

// madeUp is a token, a code and a client that nobody issued or knows.
const madeUp = "made-up-by-device-auth-check"

// A resource is what a guarded site says of itself (RFC 9728 §2).
type resource struct {
	Name    string   `json:"resource"`
	Servers []string `json:"authorization_servers"`

	said *answer
	at   string // the address that a challenge named
}

func (r *run) resourceGuard() finding {
	if r.own != nil {
		return skip("the URL is the server's own; give a guarded API's to have its guard looked at")
	}
	a := r.ask(r.target.String())
	challenge, bearer := a.challenge()
	switch {
	case a.err != nil:
		return about(a.asked, trouble(a.err))
	case a.status < 300:
		return r.unguarded(a)
	case a.status >= 500:
		return found("%s, to who sent no token", a).fails("A guard answers 401 before the backend is asked. Look at Caddy's log: 503 means that the guard could not ask its store or its server.")
	case a.status != http.StatusUnauthorized:
		return found("%s, to who sent no token, and not 401", a).warns("Give the URL of something that is guarded; or let the guard's matcher cover this one: %s.", r.guardLine())
	case !bearer:
		return found("%s, with WWW-Authenticate %q and not Bearer", a, quote(challenge)).fails("Something else asks for credentials before the guard does (`basic_auth`, `forward_auth`, the backend): take it out of the way of `device_auth`, or give the URL of something that is guarded.")
	}
	r.guarded = true
	if challengeParameter(challenge, "error") != "" {
		return found("%s, and the challenge names an error to who sent no token: %s", a, quote(challenge)).warns("A request without a token is told no error (RFC 6750 §3.1). Another guard than device_auth answers here, or a proxy adds an Authorization header.")
	}
	r.site = &resource{at: challengeParameter(challenge, "resource_metadata")}
	if r.site.at == "" {
		return found("%s, and the challenge has no resource_metadata: %s", a, quote(challenge)).warns("Clients find the server by it (RFC 9728 §5.1). device_auth sends it; look for a proxy, or `header` and `handle_errors` in the Caddyfile, that changes WWW-Authenticate.")
	}
	return well("%s, to who sent no token", a)
}

// unguarded is an API that answers anybody; one that refuses a bad token all
// the same has a guard with `optional`.
func (r *run) unguarded(a *answer) finding {
	bad := r.get(r.target.String(), "Authorization", "Bearer "+madeUp)
	if r.guarded = bad.status == http.StatusUnauthorized; r.guarded {
		return found("%s, to who sent no token, though a made-up one is refused", a).warns("That is what `optional` in a `device_auth` block does. Unless you meant it, take it out.")
	}
	hint := ""
	if len(a.body) == 0 {
		hint = " Nothing in the Caddyfile may answer this path at all: Caddy says 200 and nothing then; check the path."
	}
	return found("%s, to who sent no token and to a made-up one: nothing guards it", a).fails("Let a guard's matcher cover the path, in the same site and before what answers it (also within a `handle` that does): %s. A guard with `report_only` protects nothing.%s", r.guardLine(), hint)
}

// guardLine is the line of a Caddyfile that guards the target.
func (r *run) guardLine() string {
	path := strings.TrimSuffix(r.target.Path, "/")
	if path == "" {
		return "`device_auth`"
	}
	if i := strings.LastIndex(path, "/"); i > 0 {
		path = path[:i]
	}
	return "`device_auth " + path + "/*`"
}

// challenge is the one of RFC 6750 §3, or the first of another kind.
func (a *answer) challenge() (text string, bearer bool) {
	for _, text := range a.header.Values("WWW-Authenticate") {
		if len(text) >= 6 && strings.EqualFold(text[:6], "Bearer") {
			return text, true
		}
	}
	return a.header.Get("WWW-Authenticate"), false
}

var parameter = regexp.MustCompile(`(?i)([a-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))`)

// challengeParameter reads WWW-Authenticate (RFC 9110 §11.6.1).
func challengeParameter(challenge, name string) string {
	for _, m := range parameter.FindAllStringSubmatch(challenge, -1) {
		if strings.EqualFold(m[1], name) {
			return m[2] + m[3]
		}
	}
	return ""
}

func (r *run) resourceToken() finding {
	if !r.guarded {
		return skip("nothing guards it, see resource.guard")
	}
	a := r.get(r.target.String(), "Authorization", "Bearer "+madeUp)
	challenge, _ := a.challenge()
	switch {
	case a.err != nil:
		return about(a.asked, trouble(a.err))
	case a.status < 400:
		return found("%s, with a token that nobody issued", a).fails("Whatever guards this lets any token in. Let `device_auth` check it; a backend that only looks whether there is a token is none.")
	case a.status != http.StatusUnauthorized || challengeParameter(challenge, "error") != "invalid_token":
		return found("%s to a made-up token, with WWW-Authenticate %q; RFC 6750 §3.1 wants 401 and invalid_token", a, quote(challenge)).fails("Clients refresh when they hear invalid_token, and only then. Look for `handle_errors`, or a proxy, that changes the guard's answers; 503 means that the guard cannot ask its store or its server, see Caddy's log.")
	}
	return well("a made-up token is refused with invalid_token")
}

func (r *run) resourceCache() finding {
	if !r.guarded {
		return skip("nothing guards it, see resource.guard")
	}
	for _, headers := range [][]string{nil, {"Authorization", "Bearer " + madeUp}} {
		a := r.get(r.target.String(), headers...)
		if a.err != nil {
			return about(a.asked, trouble(a.err))
		}
		if a.status == http.StatusUnauthorized && a.stores() {
			return found("%s with Cache-Control %q", a, quote(a.header.Get("Cache-Control"))).warns("A cache that kept a refusal would refuse others. device_auth sends no-store; look for `header Cache-Control` in the Caddyfile, or a CDN's rule for this path.")
		}
	}
	return well("no refusal may be cached")
}

func (r *run) resourceMetadata() finding {
	if r.own != nil {
		return skip("the URL is the server's own")
	}
	if r.site != nil && r.site.at != "" {
		if !sameOrigin(r.site.at, r.target) {
			return found("the challenge names %s as resource_metadata, which is another site's", quote(r.site.at)).fails("It has to be on the API's own host (RFC 9728 §3.1). Behind a proxy: pass Host on as it came, and let the proxy's address be the site's; with TLS ended before Caddy, the `issuer` on this host says https.")
		}
		return r.describes(r.get(r.site.at))
	}
	for _, address := range []string{wellKnown(r.target, resourceName, true), wellKnown(r.target, resourceName, false)} {
		if a := r.get(address); a.ok() && a.isJSON() {
			return r.describes(a)
		}
	}
	return found("nothing says who guards %s: neither a challenge nor %s", r.target, wellKnown(r.target, resourceName, false)).warns("Clients find the server by that (RFC 9728); without it they need the issuer. device_auth does it on each site where it stands.")
}

func (r *run) describes(a *answer) finding {
	site := &resource{said: a}
	switch {
	case !a.ok():
		return found("%s", a).fails("The challenge leads here (RFC 9728 §5.1). device_auth serves it wherever it stands in a site; look for a `handle`, `route` or proxy that takes /.well-known/ to somewhere else.")
	case !a.isJSON() || json.Unmarshal(a.body, site) != nil:
		return found("%s, which is not the JSON of RFC 9728 §3.2", a).fails("Something else than device_auth answers this path: look for a `handle`, `route`, `file_server` or proxy that takes /.well-known/.")
	}
	r.site = site
	return well("%s", a)
}

func (r *run) resourceName() finding {
	if r.site == nil || r.site.said == nil {
		return skip("nothing describes the API")
	}
	u, err := url.Parse(r.site.Name)
	path := ""
	if err == nil {
		path = strings.TrimSuffix(u.Path, "/")
	}
	if err != nil || u.Scheme != r.target.Scheme || !strings.EqualFold(u.Host, r.target.Host) || r.target.Path != path && !strings.HasPrefix(r.target.Path, path+"/") && path != "" {
		return found("the API at %s calls itself %s; clients compare the two (RFC 9728 §3.3)", r.target, quote(r.site.Name)).fails("Behind a proxy: pass Host on as it came (`header_up Host {hostport}`). Where TLS ends before Caddy, the `issuer` on this host has to say https.")
	}
	return well("the API calls itself %s", quote(r.site.Name))
}

func (r *run) resourceServers() finding {
	switch {
	case r.site == nil || r.site.said == nil:
		return skip("nothing describes the API")
	case len(r.site.Servers) == 0:
		return found("%s names no authorization_servers", r.site.said.asked).fails("Clients cannot find out where to ask for a token. device_auth names the `issuer`; look who else answers this path.")
	}
	return well("it is guarded by %s", quote(strings.Join(r.site.Servers, ", ")))
}
