package devicecheck

import (
	"cmp"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// The checks in this file follow the steps of a person: from the page where the
// code is entered to the sign-in page of the upstream provider.

// devicePage opens the page where a person types the code. Devices show this address
// to people, so it is opened as a browser does. A page on another origin than the
// issuer is legal, but is not opened: forms on it could send the user code anywhere.
func (r *run) devicePage() finding {
	if !r.atIssuer(r.code.Page) {
		return skip("the page is on another origin than the issuer, and is not opened")
	}
	a := r.open(r.code.Page)
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case a.status == http.StatusServiceUnavailable:
		return found("%s: %s", a, a.text()).
			fail("Connecting devices may be paused (`caddy device-auth resume`), or the store is away: Caddy's " +
				"log says so.")
	case !a.ok() || a.kind() != "text/html":
		return found("%s, where people are to type the code", a).
			fail("Put `device_login` into the site of the issuer, outside of every `handle`, and let nothing else " +
				"take this path; or move it, by `device /connect` in a `paths` block.")
	}
	r.page = a
	return pass("%s", a)
}

// devicePolicy requires that the page is protected against frames and caches. Current
// browsers obey frame-ancestors (Content Security Policy Level 3); a page with
// X-Frame-Options alone depends on older rules.
func (r *run) devicePolicy() finding {
	policy, old := r.page.header.Get("Content-Security-Policy"), r.page.header.Get("X-Frame-Options")
	switch {
	case !strings.Contains(policy, "frame-ancestors") && old == "":
		return found("%s has no Content-Security-Policy with frame-ancestors", r.page.asked).
			warn("Another site could put the page into a frame and have people click on it (RFC 6749 §10.13). Ours " +
				"forbids that; take `header Content-Security-Policy` out of the Caddyfile, or add frame-ancestors " +
				"'none' to it.")
	case !strings.Contains(policy, "frame-ancestors"):
		return found("%s forbids frames by X-Frame-Options only", r.page.asked).
			warn("Add frame-ancestors 'none' to a Content-Security-Policy. Ours has it; take `header " +
				"Content-Security-Policy` out of the Caddyfile.")
	case r.page.cacheable():
		return found("%s has Cache-Control %q", r.page.asked, quote(r.page.header.Get("Cache-Control"))).
			warn("A cache would show one person's page to another. Ours says no-store; look for `header " +
				"Cache-Control` in the Caddyfile, or a CDN's rule.")
	}
	return pass("nobody may put the page into a frame or a cache")
}

// signInPage enters the run's own user code, and nothing else. Pages of other
// products are skipped, because the meaning of their forms is unknown: a POST could
// approve something. On our own page the code only leads to the choice of an
// upstream, and the person is asked nothing before a sign-in.
func (r *run) signInPage() finding {
	if r.code.User == "" {
		return skip("there is no code to type, see device.members")
	}
	address := cmp.Or(r.code.Complete, r.code.Page)
	if !r.atIssuer(address) {
		return skip("verification_uri_complete is on another origin than the issuer, and is not opened")
	}
	a := r.open(address)
	f, ok := a.formWith("user_code")
	if !ok || !r.isKnownPage(a) {
		return skip("the pages of other products are not known here")
	}
	if !r.atIssuer(f.action.String()) {
		return found("the code's form goes to %s, which is another origin; it is not sent", quote(f.action.String())).
			fail("Ours goes to its own site: find out what changes the page.")
	}
	f.fields.Set("user_code", r.code.User)
	if a = r.submit(f); a.err != nil {
		return about(a.asked, explain(a.err))
	}
	if r.choices = a.links("with"); a.ok() && len(r.choices) > 0 {
		return pass("the code leads to the sign-in, upstreams: %d", len(r.choices))
	}
	switch {
	case a.status == http.StatusForbidden:
		return found("%s to the code's form: %s", a, a.text()).
			fail("The page takes its own form for another site's. A proxy changes Host, Origin or " +
				"cookies: pass Host on unchanged, and let the `issuer` be the address in the browser.")
	case a.status >= 500:
		return found("%s to the code's form: %s", a, a.text()).fail("Look at Caddy's log: it says what failed.")
	}
	return found("%s to the code's form, and no way to sign in: %s", a, a.text()).
		fail("Add an `upstream` to the global `device_login` block: the OpenID provider where people sign in.")
}

// isKnownPage reports whether a page is this project's. It looks for the cookie that
// carries a code across the sign-in: an operator may change the text of the pages,
// but not the cookie.
func (r *run) isKnownPage(a *answer) bool {
	for _, c := range r.browser.Jar.Cookies(a.at) {
		if strings.TrimPrefix(c.Name, "__Host-") == "device_flow" {
			return true
		}
	}
	return false
}

// maxUpstreams is more providers than any person wants to choose from.
const maxUpstreams = 20

// signInUpstream tries the link to each upstream provider. Each has its own part of
// the finding, with its name.
func (r *run) signInUpstream() finding {
	var all []finding
	for i, choice := range r.choices {
		if i == maxUpstreams {
			all = append(all, found("of %d upstreams, %d were tried", len(r.choices), maxUpstreams).
				warn("Nobody finds theirs among so many. If the `upstream` lines are fewer: find out what "+
					"changes the page."))
			break
		}
		u, _ := url.Parse(choice) // cannot fail: links has parsed it
		all = append(all, about("upstream "+quote(u.Query().Get("with")), r.upstream(choice)))
	}
	return worst(all...)
}

// upstream follows one choice to the first page of the provider. The gateway
// redirects to the provider only after it has read the provider's metadata, so an
// error page here means that the gateway cannot reach the provider.
func (r *run) upstream(choice string) finding {
	a := r.send(r.browser, http.MethodGet, choice, "")
	to, err := url.Parse(a.header.Get("Location"))
	switch {
	case a.err != nil:
		return about(a.asked, explain(a.err))
	case !a.redirects() || err != nil || to.Host == "":
		return found("%s: %s", a, a.text()).
			fail("The gateway cannot reach the provider, or its metadata are not in order: Caddy's log has a line " +
				"`request failed` that says why. Look at the issuer URL in the `upstream` line: what is at " +
				"<issuer>/.well-known/openid-configuration has to name that issuer to the letter, and the gateway " +
				"must get there.")
	}
	return r.provider(to)
}

// badRedirect is the failure for a redirect that is not followed. Its address is
// printed and not opened, for the reason given at endpoint.
func badRedirect(address string) finding {
	return found("people are sent to %s, which is not https, or is on this machine and the issuer is not",
		quote(address)).fail("Let the issuer URL in the `upstream` line be https, or use another provider.")
}

// refusalWords match the text of providers that refuse with status 200.
var refusalWords = regexp.MustCompile(
	`(?i)AADSTS\d{5}|redirect[_ ]ur[il][_ ]mismatch|(invalid|mismatching|unregistered|unknown)[a-z: ]* ` +
		`redirect[_ ]ur[il]`)

// provider judges the provider's answer to our authorization request. The expected
// answer is a page, or a redirect to one of the provider's pages. Providers answer a
// wrong redirect URI in three ways: by an error status, by a page of status 200 that
// says so (refusalWords), or by a redirect with an error. Each of at most maxHops
// redirects is judged before it is followed. A redirect back to our redirect URI
// without an error comes from a provider that signs in without a page, by Kerberos
// for instance. The check types nothing, and sends no form of the provider.
func (r *run) provider(to *url.URL) finding {
	host, back := quote(to.Host), to.Query().Get("redirect_uri")
	if !r.mayLead(to.String()) {
		return badRedirect(to.String())
	}
	a := r.send(r.browser, http.MethodGet, to.String(), "")
	for range maxHops {
		next, err := a.nextHop()
		if !a.redirects() || err != nil {
			break
		}
		refusal := refusalIn(next.Query())
		switch {
		case refusal != "":
			return refusedBy(to, refusal)
		case back != "" && strings.HasPrefix(next.String(), back):
			return pass("%s signs in without asking", host)
		case !r.mayLead(next.String()):
			return badRedirect(next.String())
		}
		a = r.send(r.browser, http.MethodGet, next.String(), "")
	}
	switch {
	case a.err != nil:
		return found("%s could not be reached from here: %s", quote(a.at.Host), explain(a.err).detail).
			warn("If people's browsers get there all the same, that is fine; else look at the provider.")
	case a.redirects():
		return found("%s, and no page after %d redirects", a, maxHops).
			fail("People see no sign-in there: open the page in a browser. The provider may redirect in a circle " +
				"until it is told about this client.")
	case a.status >= 500:
		return found("%s: %s", a, a.text()).
			fail("The provider itself is in trouble; its log or status page says more.")
	case a.status == http.StatusUnauthorized && a.header.Get("WWW-Authenticate") != "":
		return pass("%s asks for credentials", host)
	case a.status >= 400, refusalWords.Match(a.body):
		return refusedBy(to, a.text())
	}
	return pass("%s shows its sign-in", host)
}

// nextHop returns the target of a redirect.
func (a *answer) nextHop() (*url.URL, error) {
	to := a.header.Get("Location")
	if a.err != nil || to == "" {
		return nil, http.ErrNoLocation
	}
	return a.at.Parse(to)
}

// refusedBy is the failure for an authorization request that the provider refused.
// The remedy repeats the parameters of the request literally, because providers
// compare them literally.
func refusedBy(to *url.URL, refusal string) finding {
	q := to.Query()
	return found("the provider refused the authorization request; it said: %s", cmp.Or(refusal, "nothing")).
		fail("Register %s as redirect URI for the client %s at %s, to the letter. If it is registered: look there "+
			"whether `client_id`, `scopes` and the response type code are allowed to this client. Where a browser is "+
			"let in all the same, the provider keeps only programs out.", quote(q.Get("redirect_uri")),
			quote(q.Get("client_id")), quote(to.Host))
}

// refusalIn returns the error in the query of a redirect (RFC 6749 §4.1.2.1;
// authError is Google's).
func refusalIn(q url.Values) string {
	if q.Has("authError") {
		return "an error of Google's, " + quote(q.Get("authError"))
	}
	return quote(strings.TrimSpace(q.Get("error") + " " + q.Get("error_description")))
}
