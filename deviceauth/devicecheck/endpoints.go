package devicecheck

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The checks in this file look at the error responses of the OAuth endpoints (RFC
// 6749 §5.2).

// asClient sends a request to an endpoint as the client; parameters are pairs of name
// and value. It uses client_secret_post if the metadata list it, because other
// products sometimes offer nothing else, and otherwise HTTP Basic, which every server
// has to support for clients with a password (RFC 6749 §2.3.1). A public client sends
// only its client_id.
func (r *run) asClient(address string, parameters ...string) *answer {
	form, headers := url.Values{}, []string(nil)
	for i := 0; i < len(parameters); i += 2 {
		form.Add(parameters[i], parameters[i+1])
	}
	switch {
	case r.cfg.ClientSecret == "":
		form.Set("client_id", r.cfg.ClientID)
	case r.server != nil && slices.Contains(r.server.Methods, "client_secret_post"):
		form.Set("client_id", r.cfg.ClientID)
		form.Set("client_secret", r.cfg.ClientSecret)
	default: // RFC 8414 §2: the default; RFC 6749 §2.3.1: both halves are escaped
		q := &http.Request{Header: http.Header{}}
		q.SetBasicAuth(url.QueryEscape(r.cfg.ClientID), url.QueryEscape(r.cfg.ClientSecret))
		headers = []string{"Authorization", q.Header.Get("Authorization")}
	}
	return r.post(address, form.Encode(), headers...)
}

// errorsMethod requires that the endpoints refuse GET, without a page for people: RFC
// 6749 §3.2 and RFC 8628 §3.1 define them for POST alone. A page of status 200 shows
// that a directive or a proxy answers in place of the server.
func (r *run) errorsMethod() finding {
	for _, address := range []string{r.server.DeviceAuthorization, r.server.Token} {
		a := r.get(address)
		switch {
		case a.err != nil:
			return about(a.asked, explain(a.err))
		case a.status == http.StatusMethodNotAllowed, a.status >= 400 && a.status < 500 && a.refusal().Error != "":
		case a.status < 300:
			return found("%s, and not refused; RFC 6749 §3.2 wants POST", a).
				fail("Something else than the server answers this path. Let nothing in the Caddyfile, and no proxy, " +
					"take it to somewhere else.")
		default:
			return found("%s, and neither 405 nor an OAuth error", a).
				warn("Ours answers 405 with Allow: find out what else answers this path. A status of 500 and above " +
					"is explained in the log of the server, or of the proxy before it.")
		}
	}
	return pass("a GET is refused")
}

// errorsClient requires that an unregistered client is refused. It expects
// invalid_client from both endpoints, because both identify the client before they
// look at any other parameter.
func (r *run) errorsClient() finding {
	for _, form := range []string{
		r.server.DeviceAuthorization + "?client_id=" + madeUp,
		r.server.Token + "?client_id=" + madeUp + "&grant_type=" + url.QueryEscape(grantDeviceCode) +
			"&device_code=" + madeUp,
	} {
		address, form, _ := strings.Cut(form, "?")
		a := r.refuses(address, form)
		if f := expect(a, "invalid_client", "an unknown client",
			"Let the server register clients one by one. With Caddy, only `client` blocks are known: something else "+
				"answers here."); f.status != Pass {
			return f
		}
	}
	return pass("an unknown client is refused with invalid_client")
}

// refuses posts a form that must be refused, and keeps the answer for errorsType and
// errorsCache.
func (r *run) refuses(address, form string) *answer {
	a := r.post(address, form)
	r.refusals = append(r.refusals, a)
	return a
}

// expect requires an OAuth error with the given code. The status has to be 400, or
// 401 for invalid_client (RFC 6749 §5.2). A status of 500 and above is reported
// first, because it is a fault and says nothing about the server's rules.
func expect(a *answer, code, to, mend string) finding {
	detail := found("%s, to %s; want an OAuth error %s", a, to, code)
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case a.status >= 500:
		return detail.fail("That is a fault of the server's, or of a proxy before it: their logs say which. " +
			"503 passes by itself when the store is back.")
	case a.refusal().Error == "":
		return detail.fail("Devices cannot read this. Let the server's own answers through: look for " +
			"`handle_errors`, an error page of a proxy or CDN, or another server on this path.")
	case a.refusal().Error != code ||
		a.status != http.StatusBadRequest && (code != "invalid_client" || a.status != http.StatusUnauthorized):
		return detail.fail("%s", mend)
	}
	return pass("%s is refused with %s", to, code)
}

// errorsGrant requires unsupported_grant_type for an unknown grant. A client that
// tries an extension has to learn from the error code that the server does not
// support it; otherwise it repeats the request.
func (r *run) errorsGrant() finding {
	return expect(r.keepRefusal(r.asClient(r.server.Token, "grant_type", madeUp)), "unsupported_grant_type",
		"an unknown grant type",
		"RFC 6749 §5.2 wants it. With Caddy it is so; find out what else answers the token endpoint.")
}

// errorsCode requires invalid_grant for an unknown device code. A device ends its
// login at invalid_grant, and goes on polling at most other errors (RFC 8628 §3.5).
func (r *run) errorsCode() finding {
	a := r.asClient(r.server.Token, "grant_type", grantDeviceCode, "device_code", madeUp)
	return expect(r.keepRefusal(a), "invalid_grant", "a made-up device code",
		"RFC 6749 §5.2 wants it; a device that hears something else may poll for ever. With Caddy it is so; find out "+
			"what else answers the token endpoint.")
}

// errorsRepeated requires that a repeated parameter is refused. If a server took one
// of the two values, a proxy in front of it might take the other, which is a classic
// way to bypass a check.
func (r *run) errorsRepeated() finding {
	a := r.asClient(r.server.Token, "grant_type", grantDeviceCode, "device_code", madeUp, "device_code", madeUp)
	return expect(r.keepRefusal(a), "invalid_request", "a parameter that stands there twice",
		"RFC 6749 §3.2 and §5.2 want it: two readers of one request must not see two things. With Caddy it is so; "+
			"look for a proxy that rewrites request bodies.")
}

// keepRefusal adds an answer to those that errorsType and errorsCache judge together.
func (r *run) keepRefusal(a *answer) *answer {
	r.refusals = append(r.refusals, a)
	return a
}

// errorsType requires JSON for all error responses. It runs after the checks that
// collect them, see checks.
func (r *run) errorsType() finding {
	for _, a := range r.refusals {
		if !a.isJSON() {
			return found("%s with Content-Type %q; RFC 6749 §5.2 wants application/json", a,
				quote(a.header.Get("Content-Type"))).
				fail("Libraries do not read it then. Look for `header Content-Type` in the Caddyfile, or a proxy " +
					"that sets it.")
		}
	}
	return pass("errors are JSON")
}

// errorsCache requires no-store for error responses. RFC 6749 asks for it only in
// responses with tokens, so this is a warning and not a failure; but a cached error
// misleads devices all the same.
func (r *run) errorsCache() finding {
	for _, a := range r.refusals {
		if a.cacheable() {
			return found("%s with Cache-Control %q", a, cmp.Or(quote(a.header.Get("Cache-Control")), "none")).
				warn("The server sends no-store; look for `header Cache-Control` in the Caddyfile, or a CDN's rule " +
					"that changes it. A cached error would be heard by other devices.")
		}
	}
	return pass("no error may be cached")
}
