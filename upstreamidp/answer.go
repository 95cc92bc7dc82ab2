package upstreamidp

import (
	"crypto/subtle"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// Errors of a callback. The codes are for the page, which has a text for each in the
// person's language; the texts here are for the log.
var (
	errState     = deviceauth.NewError("sign_in_untrusted", "the state is another sign-in's")
	errTwice     = deviceauth.NewError("sign_in_untrusted", "duplicate parameter")
	errIssuer    = deviceauth.NewError("sign_in_untrusted", "iss names another provider")
	errNoCode    = deviceauth.NewError("sign_in_untrusted", "there is neither a code nor an error")
	errInvalid   = deviceauth.NewError("sign_in_untrusted", "the ID token is not good")
	errStale     = deviceauth.NewError("sign_in_stale", "the provider does not know the code")
	errCancelled = deviceauth.NewError("sign_in_cancelled", "access_denied")
	errNoTime    = deviceauth.NewError("sign_in_no_auth_time",
		"the provider was asked for a fresh sign-in and sent no auth_time; a client with sign_in fresh cannot be "+
			"approved there")
	errUnproven = deviceauth.NewError("sign_in_not_fresh",
		"auth_time does not say that the person proved anew who they are")
	errNoRefresh = deviceauth.NewError("sign_in_no_refresh",
		"the provider gave no refresh token, which revalidate needs; allow the gateway offline_access there, or ask "+
			"for it in its own way with authorize")
)

// checkState checks what needs no request to the provider, so that a forged callback
// causes none. All parameters are checked for repetition, including unknown ones.
func checkState(a deviceauth.AuthRequest, answer url.Values) error {
	for _, values := range answer {
		if len(values) > 1 {
			return errTwice // RFC 6749 §3.1: two readers could read different values
		}
	}
	if !same(answer.Get("state"), a.State) {
		return errState
	}
	return nil
}

// checkAnswer checks the other parameters of the callback. The issuer comes first:
// even an error is accepted only from the provider that was asked.
func (p *Provider) checkAnswer(d *discovered, a deviceauth.AuthRequest, answer url.Values) error {
	switch {
	case (answer.Has("iss") || d.TellsIss) && answer.Get("iss") != p.cfg.Issuer:
		return errIssuer // RFC 9207 §2.4
	case answer.Has("error"):
		return p.withoutSelect(d, a, answer.Get("error"), errorResponse(answer))
	case answer.Get("code") == "":
		return errNoCode
	}
	return nil
}

// errorResponse returns the error for an error response of the provider (RFC 6749
// §4.1.2.1). The page shows the provider's own text, and the log has all of the
// response. access_denied without a description means that the person cancelled. With
// a description it may be the provider that refuses the person, as Okta does if the
// application is not assigned to them.
func errorResponse(answer url.Values) error {
	code, description, uri := answer.Get("error"), answer.Get("error_description"), answer.Get("error_uri")
	refusal := errCancelled
	switch {
	case code != "access_denied":
		refusal = deviceauth.NewError("sign_in_error", readable(code+" "+description))
	case readable(description) != "":
		refusal = deviceauth.NewError("sign_in_error", readable(description))
	}
	return withDetails(refusal, "error %q, error_description %q, error_uri %q", code, description, uri)
}

// maxLogged is the maximum length of a provider's response in the log.
const maxLogged = 2000

// withDetails adds the provider's response to a refusal, for the log.
func withDetails(refusal *deviceauth.Error, format string, args ...any) error {
	raw := text.WithoutCredentials(fmt.Sprintf(format, args...))
	return fmt.Errorf("%w (%s)", refusal, raw[:min(len(raw), maxLogged)])
}

// same compares in constant time. An empty value never matches: a value that was not
// generated must not accept a response without one.
func same(got, want string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(got), []byte(want)) == 1
}

// maxReadable is the maximum number of characters of a provider's text on a page: a
// few lines on a phone.
const maxReadable = 200

// readable makes a provider's text fit for a page. It removes characters that are
// invisible or change the text direction.
func readable(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar || r == '"' || r == '\\' {
			return -1
		}
		return r
	}, text.Plain(s))
	if runes := []rune(s); len(runes) > maxReadable {
		s = string(runes[:maxReadable])
	}
	return strings.TrimSpace(s)
}
