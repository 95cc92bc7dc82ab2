package upstreamidp

import (
	"crypto/subtle"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// What can be wrong with a callback. The codes are for the person, whose page
// says them in their language; the texts are for the log.
var (
	errState     = deviceauth.Refuse("sign_in_untrusted", "the state is another sign-in's")
	errTwice     = deviceauth.Refuse("sign_in_untrusted", "a parameter is there twice")
	errIssuer    = deviceauth.Refuse("sign_in_untrusted", "iss names another provider")
	errNoCode    = deviceauth.Refuse("sign_in_untrusted", "there is neither a code nor an error")
	errInvalid   = deviceauth.Refuse("sign_in_untrusted", "the ID token is not good")
	errStale     = deviceauth.Refuse("sign_in_stale", "the provider does not know the code")
	errCancelled = deviceauth.Refuse("sign_in_cancelled", "access_denied")
	errNoTime    = deviceauth.Refuse("sign_in_no_auth_time", "the provider was asked for a fresh sign-in and sent no auth_time; "+
		"a client with sign_in fresh cannot be approved there")
	errUnproven  = deviceauth.Refuse("sign_in_not_fresh", "auth_time does not say that the person proved anew who they are")
	errNoRefresh = deviceauth.Refuse("sign_in_no_refresh", "the provider gave no refresh token, which revalidate needs; "+
		"allow the gateway offline_access there, or ask for it in its own way with authorize")
)

// checkState looks at what needs no provider, so that a forged callback costs
// nobody a request.
func checkState(a deviceauth.Attempt, answer url.Values) error {
	for _, values := range answer {
		if len(values) > 1 {
			return errTwice // RFC 6749 §3.1: or two readers read two answers
		}
	}
	if !same(answer.Get("state"), a.State) {
		return errState
	}
	return nil
}

// checkAnswer looks at the rest of what came with the browser. The issuer
// comes first: even an error counts only from the provider that was asked.
func (p *Provider) checkAnswer(d *discovered, a deviceauth.Attempt, answer url.Values) error {
	switch {
	case (answer.Has("iss") || d.TellsIss) && answer.Get("iss") != p.cfg.Issuer:
		return errIssuer // RFC 9207 §2.4
	case answer.Get("error") == "access_denied":
		return errCancelled
	case answer.Has("error"):
		refusal := deviceauth.Refuse("sign_in_error", readable(answer.Get("error")+" "+answer.Get("error_description")))
		return p.otherwise(d, a, answer.Get("error"), refusal)
	case answer.Get("code") == "":
		return errNoCode
	}
	return nil
}

// same compares in constant time. Nothing is the same as nothing: a value that
// was never made must not let an answer without one pass.
func same(got, want string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// maxReadable is two lines on a phone.
const maxReadable = 200

// readable makes a text of somebody else's fit for a [deviceauth.Refusal].
func readable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(s[:min(len(s), maxReadable)])
}
