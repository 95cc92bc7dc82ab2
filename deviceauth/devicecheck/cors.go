package devicecheck

import (
	"net/http"
	"strings"
)

// foreignOrigin is an origin that no real page can have, because its top-level domain
// is reserved (RFC 6761 §6.4).
const foreignOrigin = "https://not-yours.invalid"

// The checks in this file look at what a page of some origin may read from the
// endpoints that need a client.

// corsForeign sends a request that the server refuses in any case, and looks at the
// headers of the refusal: browsers let a page read a response of any status only
// where Access-Control-Allow-Origin permits it (the CORS check of the Fetch
// standard). It is a failure if the response also has
// Access-Control-Allow-Credentials, because the browser then sends the person's
// cookies as well.
func (r *run) corsForeign() finding {
	a := r.post(r.server.Token, "grant_type="+madeUp+"&client_id="+madeUp, "Origin", foreignOrigin)
	allowed := a.header.Get("Access-Control-Allow-Origin")
	detail := found("%s is answered with Access-Control-Allow-Origin: %s to a page of an origin that is not listed",
		a.asked, quote(allowed))
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case allowed != "" && a.header.Get("Access-Control-Allow-Credentials") == "true":
		return detail.fail("Any page could use a person's cookies there. Take `header Access-Control-…` out of the " +
			"Caddyfile, and out of the proxy before it.")
	case allowed != "":
		return detail.warn("Any page could play any device. `device_login` names only the `origin` lines of its " +
			"clients; take `header Access-Control-Allow-Origin` out of the Caddyfile, and out of the proxy before it.")
	}
	return pass("pages of other origins may not read the token endpoint")
}

// corsOrigin checks the origin in --origin, and is skipped without one. Devices that
// are web pages need three things: a preflight that passes, a readable response of
// both endpoints, and, for the API itself, a preflight that allows the Authorization
// header.
func (r *run) corsOrigin() finding {
	if r.cfg.Origin == "" {
		return skip("--origin names no page that plays a device")
	}
	if strings.Contains(r.cfg.Origin, "@") {
		return found("--origin has a user or a password in it").
			fail("An origin is a scheme, a host and a port: https://tv.example.com.")
	}
	for _, endpoint := range []string{r.server.DeviceAuthorization, r.server.Token} {
		if f := r.preflight(endpoint, http.MethodPost, "content-type"); f.status != Pass {
			return f
		}
		a := r.post(endpoint, "client_id="+madeUp, "Origin", r.cfg.Origin)
		if !r.allowsOrigin(a) {
			return r.originRefused(a)
		}
	}
	if !r.guarded {
		return pass("pages of %s may play a device", r.cfg.Origin)
	}
	if f := r.preflight(r.target.String(), http.MethodGet, "authorization"); f.status != Pass {
		return f
	}
	return pass("pages of %s may play a device and call the API", r.cfg.Origin)
}

// preflight sends the preflight request that a browser would send (Fetch §3.2.3).
// Browsers send no credentials with it, so a guard has to answer the preflight before
// it looks for a token.
func (r *run) preflight(address, method, header string) finding {
	a := r.send(r.http, http.MethodOptions, address, "", "Origin", r.cfg.Origin, "Access-Control-Request-Method",
		method, "Access-Control-Request-Headers", header)
	switch {
	case !r.allowsOrigin(a) || a.status >= 300:
		return r.originRefused(a)
	case !listAllows(a.header.Get("Access-Control-Allow-Headers"), header):
		return found("%s does not allow the header %s: Access-Control-Allow-Headers is %q", a.asked, header,
			quote(a.header.Get("Access-Control-Allow-Headers"))).
			fail("Let `device_login` and `device_auth` answer preflights: take other CORS directives out of the " +
				"Caddyfile, and `preflight pass` out of the guard unless the backend answers them.")
	}
	return pass("")
}

// allowsOrigin reports whether a page of Config.Origin may read the answer. "*" is
// enough, because the requests of a device carry no cookies.
func (r *run) allowsOrigin(a *answer) bool {
	allowed := a.header.Get("Access-Control-Allow-Origin")
	return a.err == nil && (allowed == r.cfg.Origin || allowed == "*")
}

// originRefused returns the failure for an origin that the server does not allow. The
// remedy names the client, because origins are configured per client.
func (r *run) originRefused(a *answer) finding {
	return found("%s to a page of %s, with Access-Control-Allow-Origin %q", a, r.cfg.Origin,
		quote(a.header.Get("Access-Control-Allow-Origin"))).
		fail("Write `origin %s` into the block `client %s` of `device_login`: the scheme, host and port of the page, "+
			"without a slash at the end.", r.cfg.Origin, r.cfg.ClientID)
}

// listAllows reports whether a comma-separated list of header names contains name. In
// Access-Control-Allow-Headers, "*" stands for every header except Authorization,
// which has to be named (Fetch standard).
func listAllows(list, name string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "*" && name != "authorization" || strings.EqualFold(item, name) {
			return true
		}
	}
	return false
}
