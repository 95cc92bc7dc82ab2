package deviceauth

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// loopbackRedirect splits a redirect URI of a program that listens on its own
// computer (RFC 8252 §7.3): the host, the port with its colon, and what follows.
var loopbackRedirect = regexp.MustCompile(`^http://(127\.0\.0\.1|\[::1\]|localhost)(:[1-9][0-9]{0,4})?([/?].*)?$`)

// maxRedirect bounds a redirect URI, in bytes: a browser keeps it in a cookie.
const maxRedirect = 512

// dangerousSchemes are schemes that a redirect URI must not have: a browser runs, opens
// or sends what stands behind them, and leads to no program of the client's.
var dangerousSchemes = []string{
	"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "http", "javascript", "mailto", "sms", "tel",
	"vbscript", "view-source", "ws", "wss",
}

// IsLoopbackRedirect reports whether a redirect URI leads to a program on the computer
// of the browser itself, by http (RFC 8252 §7.3).
func IsLoopbackRedirect(uri string) bool { return loopbackRedirect.MatchString(uri) }

// checkRedirect says what is wrong with a redirect URI that a client registers: it is to
// be an https URL, an http URL of a loopback host, or one of a scheme that a program has
// registered at its system (RFC 8252 §7).
func checkRedirect(uri string) error {
	u, err := url.Parse(uri)
	const want = "want https://…, http://127.0.0.1/…, http://[::1]/…, http://localhost/…, or a private-use scheme such as com.example.app:/…"
	switch {
	case err != nil || u.Scheme == "" || !text.IsPrintable(uri) || strings.ContainsAny(uri, " \"<>\\^`{|}"):
		return fmt.Errorf("redirect %q: %s", uri, want)
	case len(uri) > maxRedirect:
		return fmt.Errorf("redirect %.40q…: want at most %d bytes", uri, maxRedirect)
	case strings.Contains(uri, "#"):
		return fmt.Errorf("redirect %q: a redirect URI has no fragment (RFC 6749 §3.1.2)", uri)
	case u.User != nil:
		return fmt.Errorf("redirect %q: a redirect URI has no user and no password", uri)
	case strings.HasPrefix(uri, "https://") && u.Host != "", IsLoopbackRedirect(uri) && validPort(u.Port()):
		return nil
	case u.Scheme == "https" || slices.Contains(dangerousSchemes, u.Scheme):
		return fmt.Errorf("redirect %q: %s", uri, want)
	case !strings.Contains(u.Scheme, ".") && u.Host == "":
		return fmt.Errorf("redirect %q: a private-use scheme has a dot, such as com.example.app (RFC 8252 §7.1)", uri)
	}
	return nil
}

func validPort(port string) bool {
	n, err := strconv.Atoi(port)
	return port == "" || err == nil && n <= 65535
}

// redirectsTo reports whether the client registered a redirect URI. They are compared
// letter by letter (RFC 9700 §4.1.3); on a loopback host the port may be any, because a
// program takes one that is free (RFC 8252 §7.3).
func (c *Client) redirectsTo(uri string) bool {
	asked := loopbackRedirect.FindStringSubmatch(uri)
	if asked != nil && !validPort(strings.TrimPrefix(asked[2], ":")) {
		return false
	}
	return slices.ContainsFunc(c.Redirects, func(registered string) bool {
		if registered == uri {
			return true
		}
		parts := loopbackRedirect.FindStringSubmatch(registered)
		return asked != nil && parts != nil && parts[1] == asked[1] && parts[3] == asked[3]
	})
}
