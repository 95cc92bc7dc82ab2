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
	"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "http", "intent", "javascript", "mailto",
	"ms-settings", "nfs", "search-ms", "sftp", "smb", "sms", "ssh", "tel", "vbscript", "view-source", "ws", "wss",
}

// IsLoopbackRedirect reports whether a redirect URI leads to a program on the computer
// of the browser itself, by http (RFC 8252 §7.3).
func IsLoopbackRedirect(uri string) bool { return loopbackRedirect.MatchString(uri) }

// checkRedirect says what is wrong with a redirect URI that a client registers: it is to
// be an https URL, an http URL of a loopback host, or one of a scheme that a program has
// registered at its system (RFC 8252 §7).
func checkRedirect(uri string) error {
	u, err := url.Parse(uri)
	const want = "want https://…, http://127.0.0.1/…, http://[::1]/…, http://localhost/…, or a " +
		"private-use scheme such as com.example.app:/…"
	switch {
	case err != nil || u.Scheme == "" || !text.IsPrintable(uri) || strings.ContainsAny(uri, " \"<>\\^`{|}"):
		return fmt.Errorf("redirect %q: %s", uri, want)
	case len(uri) > maxRedirect:
		return fmt.Errorf("redirect %.40q…: want at most %d bytes", uri, maxRedirect)
	case strings.Contains(uri, "#"):
		return fmt.Errorf("redirect %q: a redirect URI has no fragment (RFC 6749 §3.1.2)", uri)
	case overlaps(u.RawQuery):
		return fmt.Errorf("redirect %q: its query has a parameter of the answer, such as code, state or iss", uri)
	case u.User != nil:
		return fmt.Errorf("redirect %q: a redirect URI has no user and no password", uri)
	case !isPlainHost(u):
		return fmt.Errorf("redirect %q: want a host in ASCII: letters, digits, dots and dashes; others are "+
			"written xn--…", uri)
	case strings.HasPrefix(uri, "https://") && strings.Trim(u.Hostname(), ".-") != "" && validPort(u.Port()),
		IsLoopbackRedirect(uri) && validPort(u.Port()):
		return nil
	case u.Scheme == "https" || slices.Contains(dangerousSchemes, u.Scheme):
		return fmt.Errorf("redirect %q: %s", uri, want)
	case !strings.Contains(u.Scheme, ".") && u.Host == "":
		return fmt.Errorf("redirect %q: a private-use scheme has a dot, such as com.example.app (RFC 8252 §7.1)", uri)
	}
	return nil
}

// overlaps reports whether the query of a redirect URI is broken, or has what the answer adds
// to it: a program would find two.
func overlaps(query string) bool {
	values, err := url.ParseQuery(query)
	for _, name := range []string{"code", "state", "iss", "error", "error_description"} {
		if values.Has(name) {
			return true
		}
	}
	return err != nil
}

// leadsTo reports whether a redirect URI leads to an issuer itself: the code would stand in
// the gateway's own log.
func leadsTo(issuer, uri string) bool {
	home, homeErr := url.Parse(issuer)
	u, err := url.Parse(uri)
	return homeErr == nil && err == nil && u.Host != "" && u.Scheme == home.Scheme &&
		strings.EqualFold(u.Host, home.Host)
}

// isPlainHost reports whether a URL's host is written in letters, digits, dots and dashes, as
// people can compare it: an escape could stand for a letter that looks like another.
func isPlainHost(u *url.URL) bool {
	return !strings.ContainsFunc(u.Host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-:[]", r)
	})
}

// undottedSchemes are private-use schemes without a dot of programs that are in wide use. A
// client that introduces itself may have no other: many lead to parts of a system.
var undottedSchemes = []string{"claude", "cursor", "jetbrains", "vscode", "vscode-insiders", "windsurf", "zed"}

// isKnownScheme reports whether a client that introduces itself may have answers sent to
// URLs of a scheme.
func isKnownScheme(scheme string) bool {
	return scheme == "https" || scheme == "http" || strings.Contains(scheme, ".") ||
		slices.Contains(undottedSchemes, scheme)
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
