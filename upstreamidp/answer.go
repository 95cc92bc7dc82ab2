package upstreamidp

import (
	"crypto/subtle"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

func refuse(text string) error { return deviceauth.Refuse("sign_in", text) }

// What can be wrong with a callback. The texts are for the person.
var (
	errState   = refuse("This answer does not belong to the sign-in that you began.")
	errTwice   = refuse("The identity provider's answer says something twice.")
	errIssuer  = refuse("This answer comes from another identity provider than the one you went to.")
	errNoCode  = refuse("The identity provider sent no answer.")
	errStale   = refuse("The identity provider no longer knows this sign-in. Please sign in again.")
	errInvalid = refuse("The identity provider sent an answer that cannot be trusted.")
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
func (p *Provider) checkAnswer(d *discovered, answer url.Values) error {
	switch {
	case (answer.Has("iss") || d.tellsIss) && answer.Get("iss") != p.cfg.Issuer:
		return errIssuer // RFC 9207 §2.4
	case answer.Get("error") == "access_denied":
		return refuse("The sign-in was cancelled.")
	case answer.Has("error"):
		return refuse("The identity provider answered: " + readable(answer.Get("error")+" "+answer.Get("error_description")))
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
