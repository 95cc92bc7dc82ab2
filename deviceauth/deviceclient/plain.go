package deviceclient

import (
	"fmt"
	"net/url"
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
	}
	return p, nil
}

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
