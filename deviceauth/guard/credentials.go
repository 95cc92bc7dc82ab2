package guard

import (
	"encoding/base64"
	"errors"
	"net/http"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// What a request says of who sent it: the token, in one of its spellings.

// malformed is the error invalid_request, which is answered 400.
func malformed(why string) error { return deviceauth.NewError("invalid_request", why) }

// ErrNoCredentials is the reason where a request has no token and needs one.
var ErrNoCredentials = errors.New("the request has no bearer token")

// errNoToken is the error for a password that cannot be a token. It is answered
// 401, so that the person is asked again, which a 400 would not do.
var errNoToken = deviceauth.BadToken(deviceauth.TokenMalformed, nil)

// Token returns the token of a request from the one header that the guard reads.
// given reports whether the request has credentials at all. A single empty
// header counts as none (RFC 6750 §3.1: "lacks any authentication information");
// two headers are ambiguous and refused, even if one is empty.
func (s *Guard) Token(r *http.Request) (token string, given bool, err error) {
	name := s.options.Header()
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
	return s.otherToken(name, headers[0])
}

// otherToken is [Guard.Token] for a header in another spelling than the usual one.
func (s *Guard) otherToken(name, header string) (token string, given bool, err error) {
	scheme, value, spaced := cutScheme(header)
	switch {
	case s.options.TokenHeader != "" && isToken68(header): // the token alone
		return header, true, nil
	case s.options.TokenHeader != "" && header != "" && !strings.EqualFold(scheme, "Bearer"):
		return "", false, malformed(name + ": want a token, alone or after Bearer")
	case strings.EqualFold(scheme, "Bearer") && spaced && isToken68(value):
		return value, true, nil
	case strings.EqualFold(scheme, "Bearer"):
		return "", false, malformed(name + ": want Bearer and a token")
	case s.options.Basic && strings.EqualFold(scheme, "Basic"):
		raw, err := base64.StdEncoding.DecodeString(value)
		user, password, found := strings.Cut(string(raw), ":")
		switch {
		case err != nil || !spaced || !found:
			return "", false, malformed("Authorization: want Basic with the token as the password")
		case user == "" && password == "": // some tools begin with empty Basic credentials
			return "", false, nil
		case !isToken68(password):
			return "", false, errNoToken
		}
		return password, true, nil
	}
	return "", false, nil // another scheme is for another server to understand
}

// cutScheme splits credentials into scheme and rest (RFC 9110 §11.4). spaced
// reports whether a space follows the scheme, as the grammar wants; a tab is not
// enough.
func cutScheme(header string) (scheme, rest string, spaced bool) {
	end := strings.IndexFunc(header, func(r rune) bool { return !isSchemeLetter(r) })
	if end < 0 {
		return header, "", false
	}
	return header[:end], strings.Trim(header[end:], " "), header[end] == ' '
}

// isSchemeLetter is tchar of RFC 9110 §5.6.2, without the characters that no
// registered scheme has.
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

// token68 has the characters of a token, in a table because every request has
// hundreds of them.
var token68 = func() (table [256]bool) {
	for _, c := range "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~+/" {
		table[c] = true
	}
	return table
}()
