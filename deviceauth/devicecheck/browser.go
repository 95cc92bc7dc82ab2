package devicecheck

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The checks in this file look at logins in the browser of the same computer (RFC
// 6749 §4.1, RFC 7636, RFC 9207). They never sign in: they send the endpoint only
// requests that it has to refuse.

// browserMetadata checks the metadata that clients read before they send a browser to
// the server. It is skipped if the server does not offer authorization codes.
func (r *run) browserMetadata() finding {
	s := r.server
	switch {
	case s.Authorization == "" || !slices.Contains(s.ResponseTypes, "code"):
		return skip("the server offers no login in the browser")
	case !slices.Contains(s.ChallengeMethods, "S256"):
		return found("the metadata offer authorization codes, and code_challenge_methods_supported has no S256").
			warn("RFC 9700 §2.1.1 wants PKCE with S256, and MCP clients refuse a server without it. With Caddy it is " +
				"there: look whether this is the server you mean.")
	case !s.NamesItself:
		return found("the metadata do not say authorization_response_iss_parameter_supported").
			warn("A client of several servers tells them apart by `iss` (RFC 9207). With Caddy it is there.")
	}
	return pass("authorization codes with PKCE, and the issuer in the answer")
}

// browserRedirect requests an authorization code for a redirect URI that no client
// has registered. A server that redirects a browser there is an open redirector,
// which can send codes, and people, to any site (RFC 9700 §4.1, §4.11).
func (r *run) browserRedirect() finding {
	const stranger = "https://device-auth-check.invalid/callback"
	for _, client := range []string{r.cfg.ClientID, madeUp} {
		q := url.Values{
			"response_type": {"code"}, "client_id": {client}, "redirect_uri": {stranger}, "state": {madeUp},
			"code_challenge": {strings.Repeat("A", 43)}, "code_challenge_method": {"S256"},
		}
		separator := "?"
		if strings.Contains(r.server.Authorization, "?") {
			separator = "&"
		}
		a := r.get(r.server.Authorization + separator + q.Encode())
		switch {
		case a.err != nil:
			return about(a.asked, explain(a.err))
		case strings.HasPrefix(a.header.Get("Location"), "https://device-auth-check.invalid"):
			return found("%s: a redirect_uri that no client has registered", a).
				fail("RFC 6749 §4.1.2.1 forbids it: the server leads people to any site, and codes with them. With " +
					"Caddy it does not: find out what else answers this path.")
		case a.status >= 500:
			return found("%s", a).
				fail("That is a fault of the server's, or of a proxy before it: their logs say which.")
		case a.status < http.StatusBadRequest && a.header.Get("Location") == "":
			return found("%s, where the redirect_uri is registered for no client", a).
				warn("Ours answers 400 with a page that says so. If it is ours, something else answers this path.")
		}
	}
	return pass("a redirect_uri that is not registered leads nowhere")
}
