package deviceclient

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// prompt refuses what is no page's address, or not one that a person can read:
// a terminal obeys control characters, and a phone opens what a QR code says.
func (s Server) prompt(code *oauth2.DeviceAuthResponse) (Prompt, error) {
	p := Prompt{
		Address: code.VerificationURI, Code: code.UserCode, Complete: code.VerificationURIComplete,
		Warning: s.warning(), Expires: code.Expiry,
	}
	switch {
	case !page(p.Address):
		return p, fmt.Errorf("the server's verification_uri %q is not the address of a web page", p.Address)
	case p.Complete != "" && !page(p.Complete):
		return p, fmt.Errorf("the server's verification_uri_complete %q is not the address of a web page", p.Complete)
	case p.Code == "" || text.Plain(p.Code) != p.Code:
		return p, fmt.Errorf("the server's user_code %q is nothing that can be typed", p.Code)
	case code.Interval < 0 || code.Interval > maxInterval:
		return p, fmt.Errorf("the server's interval is %d s: want 0 to %d", code.Interval, maxInterval)
	}
	return p, nil
}

// checkToken refuses what cannot be sent as RFC 6750 §2.1 says: a token of another type
// (RFC 6749 §7.1), and one of other characters. A server that names no type means this one.
func checkToken(t *oauth2.Token) error {
	if t.TokenType != "" && !strings.EqualFold(t.TokenType, "Bearer") {
		return fmt.Errorf("the server's token_type is %q: want Bearer", t.TokenType)
	}
	if !bearerToken.MatchString(t.AccessToken) {
		return errors.New("the server's access_token has characters that no bearer token can have")
	}
	return nil
}

// bearerToken is b64token of RFC 6750 §2.1.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// maxInterval is in seconds. A server that wants to be asked more seldom is none that a person
// can wait for.
const maxInterval = 3600

// page reports whether an address is that of a web page. Schemes other than
// http and https could start another program on a phone.
func page(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && text.Plain(address) == address
}

// A plainError has nothing in it that a terminal obeys. Servers have a say in
// most errors, also in those of net/http, which quote headers and certificates
// as they are. errors.Is and errors.As still see the error within.
type plainError struct{ error }

// Error keeps the lines of errors.Join.
func (e plainError) Error() string {
	lines := strings.Split(e.error.Error(), "\n")
	for i, line := range lines {
		lines[i] = text.Plain(line)
	}
	return strings.Join(lines, "\n")
}

func (e plainError) Unwrap() error { return e.error }

// sanitize is deferred by all that is exported.
func sanitize(err *error) {
	if *err != nil {
		*err = plainError{error: *err}
	}
}
