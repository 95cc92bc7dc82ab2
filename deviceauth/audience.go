package deviceauth

import (
	"net/url"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A target is a resource indicator (RFC 8707 §2) in a normalized form (RFC 3986
// §6.2.3): case of scheme and host, the default port of the scheme and an empty path
// instead of / make no difference.
type target struct {
	origin string // scheme, host and port
	path   string // without a slash at its end
	query  string
}

var schemePorts = map[string]string{"https": "443", "http": "80"}

// canonicalHost returns host and port of a URL in one spelling: in lower case, without a
// dot at the end, the default port of the scheme, and zeros before the port. All
// spellings lead to the same server.
func canonicalHost(u *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":"+u.Port())
	host = strings.TrimRight(strings.TrimSuffix(host, ":"), ".")
	port := strings.TrimLeft(u.Port(), "0")
	if port == "" || port == schemePorts[strings.ToLower(u.Scheme)] {
		return host
	}
	return host + ":" + port
}

// parseTarget parses a URL. ok is false for a resource that must be compared
// literally: another URI, such as urn:example, or a URL that can be interpreted in
// two ways.
func parseTarget(text string) (t target, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Opaque != "" || strings.Contains(text, "#") {
		return t, false
	}
	scheme, path := strings.ToLower(u.Scheme), strings.TrimSuffix(u.EscapedPath(), "/")
	for segment := range strings.SplitSeq(u.Path, "/") {
		if segment == "." || segment == ".." || strings.Contains(segment, `\`) {
			return t, false
		}
	}
	return target{origin: scheme + "://" + canonicalHost(u), path: path, query: u.RawQuery}, true
}

// within reports whether a target is equal to another one or below it.
func (t target) within(other target) bool {
	rest, below := strings.CutPrefix(t.path, other.path)
	switch {
	case t.origin != other.origin || !below:
		return false
	case other.query != "":
		return rest == "" && t.query == other.query
	}
	return rest == "" || rest[0] == '/'
}

// AudienceOf returns the audience that a resource indicator means, in the spelling of
// the list: the one that is equal to the resource, or else the innermost one that
// contains it (same origin, and a path below it at a segment boundary).
func AudienceOf(resource string, audiences []string) (audience string, ok bool) {
	if slices.Contains(audiences, resource) {
		return resource, true
	}
	asked, comparable := parseTarget(resource)
	depth := -1
	for _, a := range audiences {
		t, isURL := parseTarget(a)
		if comparable && isURL && asked.within(t) && len(t.path+t.query) > depth {
			audience, depth = a, len(t.path+t.query)
		}
	}
	return audience, depth >= 0
}

// SameAudience reports whether two lists have an audience in common, after
// normalization (RFC 3986 §6.2.3).
func SameAudience(these, those []string) bool {
	if slices.ContainsFunc(these, func(a string) bool { return slices.Contains(those, a) }) {
		return true // nearly always; guards call this for every request
	}
	return slices.ContainsFunc(these, func(a string) bool {
		t, isURL := parseTarget(a)
		return isURL && slices.ContainsFunc(those, func(b string) bool {
			other, ok := parseTarget(b)
			return ok && t == other
		})
	})
}

// errTarget refuses a resource and names both the resource and the ones that are
// accepted (RFC 8707 §2): the developer who reads the error may not see the device's
// request.
func errTarget(resource string, known []string) error {
	return NewError("invalid_target",
		"unknown audience or resource "+Quotable(resource)+"; known are: "+Quotable(strings.Join(known, " ")))
}

const maxQuoted = 500

// inASCII replaces the characters in our own messages that an error_description must
// not have.
var inASCII = strings.NewReplacer(`"`, "'", "…", "...", "§", "section ")

// Quotable makes text of a client fit for an error_description, which is printable
// ASCII without quotes and backslashes (RFC 6749 §5.2), and for a log, which must
// contain no credentials.
func Quotable(raw string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '\\' {
			return '?'
		}
		return r
	}, inASCII.Replace(text.WithoutCredentials(raw)))
	if len(clean) > maxQuoted {
		return clean[:maxQuoted] + "..."
	}
	return clean
}
