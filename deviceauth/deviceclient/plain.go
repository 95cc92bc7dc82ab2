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

// prompt returns the Prompt for a response. It refuses addresses that are not of a
// web page, or that have control characters: a terminal would interpret these, and a
// phone opens the address in a QR code.
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

// checkToken refuses a token that cannot be sent as in RFC 6750 §2.1: one with
// another type (RFC 6749 §7.1) or with other characters. An empty type counts as
// Bearer.
func checkToken(t *oauth2.Token) error {
	if t.TokenType != "" && !strings.EqualFold(t.TokenType, "Bearer") {
		return fmt.Errorf("the server's token_type is %q: want Bearer", t.TokenType)
	}
	if !bearerToken.MatchString(t.AccessToken) {
		return errors.New("the server's access_token has characters that no bearer token can have")
	}
	return nil
}

// bearerToken matches the b64token of RFC 6750 §2.1.
var bearerToken = regexp.MustCompile(`^[A-Za-z0-9._~+/-]+=*$`)

// maxInterval is in seconds. A longer polling interval is useless for a person who
// waits.
const maxInterval = 3600

// page reports whether an address is that of a web page. Schemes other than http and
// https could start another program on a phone.
func page(address string) bool {
	u, err := url.Parse(address)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && text.Plain(address) == address
}

// A plainError has no control characters, which a terminal would interpret. Servers
// influence most errors, including those of net/http, which quote headers and
// certificates unchanged. errors.Is and errors.As see the wrapped error.
type plainError struct{ error }

// Error preserves the lines of errors.Join.
func (e plainError) Error() string {
	lines := strings.Split(e.error.Error(), "\n")
	for i, line := range lines {
		lines[i] = text.Plain(line)
	}
	return strings.Join(lines, "\n")
}

func (e plainError) Unwrap() error { return e.error }

// sanitize is deferred by all exported functions.
func sanitize(err *error) {
	if *err != nil {
		*err = plainError{error: *err}
	}
}
