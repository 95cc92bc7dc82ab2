package guard

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Credentials: the token of a request, in each form in which a client may send it.

// malformed returns the error invalid_request, which is answered with status 400.
func malformed(why string) error { return deviceauth.NewError("invalid_request", why) }

// ErrNoCredentials is the error for a request that has no token but needs one.
var ErrNoCredentials = errors.New("the request has no bearer token")

// errNoToken is the error for a password that cannot be a token. It is answered with
// status 401, so that the person is asked for the password again, which does not
// happen after a 400.
var errNoToken = deviceauth.BadToken(deviceauth.TokenMalformed, nil)

// Token returns the token of a request from the one header that the guard reads.
// given reports whether the request has credentials at all. A single empty
// header counts as none (RFC 6750 §3.1: "lacks any authentication information");
// two headers are ambiguous and refused, even if one is empty.
func (g *Guard) Token(r *http.Request) (token string, given bool, err error) {
	name := g.options.Header()
	headers := r.Header.Values(name)
	if len(headers) > 1 {
		return "", false, malformed("more than one " + name + " header")
	}
	if len(headers) == 0 {
		return "", false, nil
	}
	if token, ok := strings.CutPrefix(headers[0], "Bearer "); ok && isToken68(token) { // nearly always
		return token, true, nil
	}
	return g.otherToken(name, headers[0])
}

// otherToken does the work of [Guard.Token] for a header that is not in the usual
// form.
func (g *Guard) otherToken(name, header string) (token string, given bool, err error) {
	scheme, value, spaced := cutScheme(header)
	switch {
	case g.options.TokenHeader != "" && isToken68(header): // the token alone
		return header, true, nil
	case g.options.TokenHeader != "" && header != "" && !strings.EqualFold(scheme, "Bearer"):
		return "", false, malformed(name + ": want a token, alone or after Bearer")
	case strings.EqualFold(scheme, "Bearer") && spaced && isToken68(value):
		return value, true, nil
	case strings.EqualFold(scheme, "Bearer"):
		return "", false, malformed(name + ": want Bearer and a token")
	case g.options.Basic && strings.EqualFold(scheme, "Basic"):
		raw, err := base64.StdEncoding.DecodeString(value)
		user, password, found := strings.Cut(string(raw), ":")
		switch {
		case err != nil || !spaced || !found:
			return "", false, malformed("Authorization: want Basic with the token as the password")
		case user == "" && password == "": // some tools first send empty Basic credentials
			return "", false, nil
		case !isToken68(password):
			return "", false, errNoToken
		}
		return password, true, nil
	}
	return "", false, nil // a scheme that is not ours may be meant for the backend
}

// cutScheme splits credentials into scheme and rest (RFC 9110 §11.4). spaced reports
// whether a space follows the scheme, as the grammar requires; a tab does not count.
func cutScheme(header string) (scheme, rest string, spaced bool) {
	end := strings.IndexFunc(header, func(r rune) bool { return !isSchemeLetter(r) })
	if end < 0 {
		return header, "", false
	}
	return header[:end], strings.Trim(header[end:], " "), header[end] == ' '
}

// isSchemeLetter reports whether a character may be part of a scheme: tchar of RFC
// 9110 §5.6.2, but only those characters that registered schemes use.
func isSchemeLetter(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
		r == '-' || r == '_' || r == '.' || r == '+'
}

// isToken68 reports whether a string has the syntax of a bearer token (RFC 6750
// §2.1): characters of token68, and padding at its end.
func isToken68(s string) bool {
	body := strings.TrimRight(s, "=")
	for i := range len(body) {
		if !token68[body[i]] {
			return false
		}
	}
	return body != ""
}

// token68 is the set of characters of a token. It is a table because every request
// has hundreds of such characters.
var token68 = func() (table [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/" {
		table[c] = true
	}
	return table
}()
