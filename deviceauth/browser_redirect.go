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

// loopbackRedirect splits a loopback redirect URI (RFC 8252 §7.3) into the host, the
// port with its colon, and the rest.
var loopbackRedirect = regexp.MustCompile(`^http://(127\.0\.0\.1|\[::1\]|localhost)(:[1-9][0-9]{0,4})?([/?].*)?$`)

// maxRedirect bounds a redirect URI, in bytes: it is kept in a cookie.
const maxRedirect = 512

// dangerousSchemes are schemes that a redirect URI must not have: a browser executes,
// opens or sends the content of such a URI instead of starting an app of the client.
var dangerousSchemes = []string{
	"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "http", "intent", "javascript", "mailto",
	"ms-settings", "nfs", "search-ms", "sftp", "smb", "sms", "ssh", "tel", "vbscript", "view-source", "ws", "wss",
}

// IsLoopbackRedirect reports whether a redirect URI is an http URL of the computer on
// which the browser runs (RFC 8252 §7.3).
func IsLoopbackRedirect(uri string) bool { return loopbackRedirect.MatchString(uri) }

// checkRedirect checks a redirect URI of a client. It must be an https URL, an http
// URL of a loopback host, or a URI with a private-use scheme (RFC 8252 §7).
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

// overlaps reports whether the query of a redirect URI is malformed or has a
// parameter of the authorization response: the client would receive that twice.
func overlaps(query string) bool {
	values, err := url.ParseQuery(query)
	for _, name := range []string{"code", "state", "iss", "error", "error_description"} {
		if values.Has(name) {
			return true
		}
	}
	return err != nil
}

// leadsTo reports whether a redirect URI is a URL of the issuer's own host: the
// authorization code would be in the gateway's own log.
func leadsTo(issuer, uri string) bool {
	home, homeErr := url.Parse(issuer)
	u, err := url.Parse(uri)
	return homeErr == nil && err == nil && u.Host != "" && u.Scheme == home.Scheme &&
		canonicalHost(u) == canonicalHost(home)
}

// isPlainHost reports whether a URL's host consists of letters, digits, dots and
// dashes, which people can compare: an escape could stand for a letter that looks
// like another.
func isPlainHost(u *url.URL) bool {
	return !strings.ContainsFunc(u.Host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(".-:[]", r)
	})
}

// undottedSchemes are the private-use schemes without a dot that widely used
// programs have. A client that introduces itself may have no others: many such
// schemes open parts of the operating system.
var undottedSchemes = []string{"claude", "cursor", "jetbrains", "vscode", "vscode-insiders", "windsurf", "zed"}

// isKnownScheme reports whether a client that introduces itself may have redirect
// URIs of a scheme.
func isKnownScheme(scheme string) bool {
	return scheme == "https" || scheme == "http" || strings.Contains(scheme, ".") ||
		slices.Contains(undottedSchemes, scheme)
}

func validPort(port string) bool {
	n, err := strconv.Atoi(port)
	return port == "" || err == nil && n <= 65535
}

// redirectsTo reports whether the client has registered a redirect URI. URIs are
// compared literally (RFC 9700 §4.1.3), except for the port of a loopback host,
// because a program listens on whatever port is free (RFC 8252 §7.3).
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
