package devicecheck

import (
	"net/http"
	"strings"
)

// foreignOrigin is nobody's (RFC 6761 §6.4).
const foreignOrigin = "https://not-yours.invalid"

// What a page of an origin may read at the endpoints that need a client.

func (r *run) corsForeign() finding {
	a := r.post(r.server.Token, "grant_type="+madeUp+"&client_id="+madeUp, "Origin", foreignOrigin)
	allowed := a.header.Get("Access-Control-Allow-Origin")
	said := found("%s is answered with Access-Control-Allow-Origin: %s to a page of an origin that nobody listed",
		a.asked, quote(allowed))
	switch {
	case a.err != nil:
		return about(a.asked, trouble(a.err))
	case allowed != "" && a.header.Get("Access-Control-Allow-Credentials") == "true":
		return said.fails("Any page could use a person's cookies there. Take `header Access-Control-…` out of the " +
			"Caddyfile, and out of the proxy before it.")
	case allowed != "":
		return said.warns("Any page could play any device. `device_login` names only the `origin` lines of its " +
			"clients; take `header Access-Control-Allow-Origin` out of the Caddyfile, and out of the proxy before it.")
	}
	return well("pages of other origins may not read the token endpoint")
}

func (r *run) corsOrigin() finding {
	if r.cfg.Origin == "" {
		return skip("--origin names no page that plays a device")
	}
	if strings.Contains(r.cfg.Origin, "@") {
		return found("--origin has a user or a password in it").
			fails("An origin is a scheme, a host and a port: https://tv.example.com.")
	}
	for _, endpoint := range []string{r.server.DeviceAuthorization, r.server.Token} {
		if f := r.lets(endpoint, http.MethodPost, "content-type"); f.status != Pass {
			return f
		}
		a := r.post(endpoint, "client_id="+madeUp, "Origin", r.cfg.Origin)
		if !r.names(a) {
			return r.notNamed(a)
		}
	}
	if !r.guarded {
		return well("pages of %s may play a device", r.cfg.Origin)
	}
	if f := r.lets(r.target.String(), http.MethodGet, "authorization"); f.status != Pass {
		return f
	}
	return well("pages of %s may play a device and call the API", r.cfg.Origin)
}

// lets asks as a browser does before it sends (Fetch §3.2.3).
func (r *run) lets(address, method, header string) finding {
	a := r.send(r.http, http.MethodOptions, address, "", "Origin", r.cfg.Origin, "Access-Control-Request-Method",
		method, "Access-Control-Request-Headers", header)
	switch {
	case !r.names(a) || a.status >= 300:
		return r.notNamed(a)
	case !permits(a.header.Get("Access-Control-Allow-Headers"), header):
		return found("%s does not allow the header %s: Access-Control-Allow-Headers is %q", a.asked, header,
			quote(a.header.Get("Access-Control-Allow-Headers"))).
			fails("Let `device_login` and `device_auth` answer preflights: take other CORS directives out of the " +
				"Caddyfile, and `preflight pass` out of the guard unless the backend answers them.")
	}
	return well("")
}

func (r *run) names(a *answer) bool {
	allowed := a.header.Get("Access-Control-Allow-Origin")
	return a.err == nil && (allowed == r.cfg.Origin || allowed == "*")
}

func (r *run) notNamed(a *answer) finding {
	return found("%s to a page of %s, with Access-Control-Allow-Origin %q", a, r.cfg.Origin,
		quote(a.header.Get("Access-Control-Allow-Origin"))).
		fails("Write `origin %s` into the block `client %s` of `device_login`: the scheme, host and port of the page, "+
			"without a slash at the end.", r.cfg.Origin, r.cfg.ClientID)
}

func permits(list, name string) bool {
	for item := range strings.SplitSeq(list, ",") {
		if item = strings.TrimSpace(item); item == "*" && name != "authorization" || strings.EqualFold(item, name) {
			return true
		}
	}
	return false
}
