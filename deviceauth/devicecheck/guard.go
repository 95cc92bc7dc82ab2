package devicecheck

import (
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/deviceclient"
)

// What a guarded API says to who has no good token (RFC 6750).

// madeUp stands for a token, a code and a client that were never issued.
const madeUp = "made-up-by-device-auth-check"

// The request has no token, so a guard has to answer 401 with a Bearer
// challenge (RFC 6750 §3) that names no error (§3.1) and, for RFC 9728 §5.1,
// the address of the resource metadata. What the challenge says, the needed
// scope and the realm, is kept for later checks. Other statuses are told apart,
// because each has another cause: a redirect to a login page, a missing route,
// a backend that is down.
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
		return found("%s, to who sent no token", a).
			fail("A guard answers 401 before the backend is asked. Look at Caddy's log: 503 means that the guard " +
				"could not ask its store or its server.")
	case a.status != http.StatusUnauthorized:
		return found("%s, to who sent no token, and not 401", a).
			warn("Give the URL of something that is guarded; or let the guard's matcher cover this one: %s.",
				r.guardLine())
	case !bearer:
		return found("%s, with WWW-Authenticate %q and not Bearer", a, quote(challenge)).
			fail("Something else asks for credentials before the guard does (`basic_auth`, `forward_auth`, the " +
				"backend): take it out of the way of `device_auth`, or give the URL of something that is guarded.")
	}
	r.guarded = true
	if deviceclient.ChallengeParameter(challenge, "error") != "" {
		return found("%s, and the challenge names an error to who sent no token: %s", a, quote(challenge)).
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
	return pass("%s, to who sent no token", a)
}

// unguarded judges an API that answers without a token; one that refuses a bad
// token all the same has a guard with `optional`. It sends a made-up token to
// tell a missing guard from an optional one.
func (r *run) unguarded(a *answer) finding {
	bad := r.get(r.target.String(), "Authorization", "Bearer "+madeUp)
	if bad.err != nil {
		return about(bad.asked, explain(bad.err))
	}
	if r.guarded = bad.status == http.StatusUnauthorized; r.guarded {
		return found("%s, to who sent no token, though a made-up one is refused", a).
			warn("That is what `optional` in a `device_auth` block does. Unless you meant it, take it out.")
	}
	// Caddy answers 200 with an empty body where no handler matches, which
	// looks like an open API and is usually a mistyped path.
	hint := ""
	if len(a.body) == 0 {
		hint = " Nothing in the Caddyfile may answer this path at all: Caddy says 200 and nothing then; check the path."
	}
	return found("%s, to who sent no token and to a made-up one: nothing guards it", a).
		fail("Let a guard's matcher cover the path, in the same site and before what answers it (also within a "+
			"`handle` that does): %s. A guard with `report_only` protects nothing.%s", r.guardLine(), hint)
}

// guardLine is the line of a Caddyfile that guards the target. It names the
// directory of the target, since APIs are guarded by prefix and seldom by
// single paths. It is a proposal to copy, and the operator edits it.
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
// Several challenges may be offered, each in a header line of its own (RFC 9110
// §11.6.1).
func (a *answer) challenge() (text string, bearer bool) {
	for _, text := range a.header.Values("WWW-Authenticate") {
		if deviceclient.IsBearer(text) {
			return text, true
		}
	}
	return a.header.Get("WWW-Authenticate"), false
}

// A guard that only tests for the presence of a token, or a backend that
// decodes without verifying, answers below 400 here; that is the most serious
// defect the check knows. A client refreshes its token only at invalid_token,
// so a guard that refuses with another error makes devices ask for a new login.
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
		return found("%s, with a token that nobody issued", a).
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

// Both kinds of refusal are looked at. A cache keys by URL, so a stored 401
// would be served to requests that have a good token.
func (r *run) resourceCache() finding {
	if !r.guarded {
		return skip("nothing guards it, see resource.guard")
	}
	for _, headers := range [][]string{nil, {"Authorization", "Bearer " + madeUp}} {
		a := r.get(r.target.String(), headers...)
		if a.err != nil {
			return about(a.asked, explain(a.err))
		}
		if a.status == http.StatusUnauthorized && a.stores() {
			return found("%s with Cache-Control %q", a, quote(a.header.Get("Cache-Control"))).
				warn("A cache that kept a refusal would refuse others. device_auth sends no-store; look for `header " +
					"Cache-Control` in the Caddyfile, or a CDN's rule for this path.")
		}
	}
	return pass("no refusal may be cached")
}
