package devicecheck

import (
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

// The checks in this file look at what a guarded API answers without a valid token
// (RFC 6750).

// madeUp is a token, code or client ID that was never issued.
const madeUp = "made-up-by-device-auth-check"

// resourceGuard requests the target without a token. A guard has to answer 401 with a
// Bearer challenge (RFC 6750 §3) that names no error (§3.1) and that has the address
// of the resource metadata (RFC 9728 §5.1). Scope and realm of the challenge are kept
// for later checks. Other statuses have findings of their own, because each has
// another cause: a redirect to a login page, a missing route, a backend that is down.
func (r *run) resourceGuard() finding {
	if r.ownMetadata != nil {
		return skip("the URL is the server's own; give a guarded API's to have its guard looked at")
	}
	a := r.ask(r.target.String())
	challenge, bearer := a.challenge()
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case a.status < 300:
		return r.unguarded(a)
	case a.status >= 500:
		return found("%s, to a request without a token", a).
			fail("A guard answers 401 before the backend is asked. Look at Caddy's log: 503 means that the guard " +
				"could not ask its store or its server.")
	case a.status != http.StatusUnauthorized:
		return found("%s, to a request without a token, and not 401", a).
			warn("Give the URL of something that is guarded; or let the guard's matcher cover this one: %s.",
				r.guardLine())
	case !bearer:
		return found("%s, with WWW-Authenticate %q and not Bearer", a, quote(challenge)).
			fail("Something else asks for credentials before the guard does (`basic_auth`, `forward_auth`, the " +
				"backend): take it out of the way of `device_auth`, or give the URL of something that is guarded.")
	}
	r.guarded = true
	if deviceclient.ChallengeParameter(challenge, "error") != "" {
		return found("%s, and the challenge names an error to a request without a token: %s", a, quote(challenge)).
			warn("A request without a token is told no error (RFC 6750 §3.1). Another guard than " +
				"device_auth answers here, or a proxy adds an Authorization header.")
	}
	r.needs, r.realm = strings.Fields(deviceclient.ChallengeParameter(challenge, "scope")),
		deviceclient.ChallengeParameter(challenge, "realm")
	r.site = &resource{at: deviceclient.ChallengeParameter(challenge, "resource_metadata")}
	if r.site.at == "" {
		return found("%s, and the challenge has no resource_metadata: %s", a, quote(challenge)).
			warn("Clients find the server by it (RFC 9728 §5.1). device_auth sends it; look for a proxy, " +
				"or `header` and `handle_errors` in the Caddyfile, that changes WWW-Authenticate.")
	}
	return pass("%s, to a request without a token", a)
}

// unguarded judges an API that answers without a token. It sends a made-up token: an
// API that refuses that one has a guard with `optional`, any other has no guard.
func (r *run) unguarded(a *answer) finding {
	bad := r.get(r.target.String(), "Authorization", "Bearer "+madeUp)
	if bad.err != nil {
		return about(bad.asked, explain(bad.err))
	}
	if r.guarded = bad.status == http.StatusUnauthorized; r.guarded {
		return found("%s, to a request without a token, though a made-up one is refused", a).
			warn("That is what `optional` in a `device_auth` block does. Unless you meant it, take it out.")
	}
	// Caddy answers 200 with an empty body where no handler matches. That looks like
	// an open API, but usually the path is mistyped.
	hint := ""
	if len(a.body) == 0 {
		hint = " Nothing in the Caddyfile may answer this path at all: Caddy says 200 and nothing then; check the path."
	}
	return found("%s, to a request without a token and to a made-up one: nothing guards it", a).
		fail("Let a guard's matcher cover the path, in the same site and before what answers it (also within a "+
			"`handle` that does): %s. A guard with `report_only` protects nothing.%s", r.guardLine(), hint)
}

// guardLine proposes the line of a Caddyfile that guards the target. It names the
// directory of the target, because APIs are guarded by prefix and seldom by single
// paths. The operator copies and edits it.
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

// challenge returns the Bearer challenge of the answer (RFC 6750 §3), or the first
// challenge of another scheme. A response may have several, each in a header line of
// its own (RFC 9110 §11.6.1).
func (a *answer) challenge() (text string, bearer bool) {
	for _, text := range a.header.Values("WWW-Authenticate") {
		if deviceclient.IsBearer(text) {
			return text, true
		}
	}
	return a.header.Get("WWW-Authenticate"), false
}

// resourceToken requests the target with a made-up token. A guard that only tests for
// the presence of a token, or a backend that decodes a token without verifying it,
// answers below 400; this is the most serious defect that the package knows. Clients
// refresh their token only at invalid_token, so a guard that refuses with another
// error makes devices ask for a new login.
func (r *run) resourceToken() finding {
	if !r.guarded {
		return skip("nothing guards it, see resource.guard")
	}
	a := r.get(r.target.String(), "Authorization", "Bearer "+madeUp)
	challenge, _ := a.challenge()
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case a.status < 400:
		return found("%s, with a made-up token", a).
			fail("Whatever guards this lets any token in. Let `device_auth` check it; a backend that only looks " +
				"whether there is a token is none.")
	case a.status != http.StatusUnauthorized || deviceclient.ChallengeParameter(challenge, "error") != "invalid_token":
		return found("%s to a made-up token, with WWW-Authenticate %q; RFC 6750 §3.1 wants 401 and invalid_token", a,
			quote(challenge)).
			fail("Clients refresh when they hear invalid_token, and only then. Look for `handle_errors`, " +
				"or a proxy, that changes the guard's answers; 503 means that the guard cannot ask its store or its " +
				"server, see Caddy's log.")
	}
	return pass("a made-up token is refused with invalid_token")
}

// resourceCache requires that caches must not store refusals, with and without a
// token. A cache keys by URL, so it would serve a stored 401 to requests that have a
// valid token.
func (r *run) resourceCache() finding {
	if !r.guarded {
		return skip("nothing guards it, see resource.guard")
	}
	for _, headers := range [][]string{nil, {"Authorization", "Bearer " + madeUp}} {
		a := r.get(r.target.String(), headers...)
		if a.err != nil {
			return about(a.asked, explain(a.err))
		}
		if a.status == http.StatusUnauthorized && a.cacheable() {
			return found("%s with Cache-Control %q", a, quote(a.header.Get("Cache-Control"))).
				warn("A cache that kept a refusal would refuse others. device_auth sends no-store; look for `header " +
					"Cache-Control` in the Caddyfile, or a CDN's rule for this path.")
		}
	}
	return pass("no refusal may be cached")
}
