package deviceauth

import (
	"net/url"
	"slices"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A target is a resource indicator (RFC 8707 §2) made comparable, as RFC 3986
// §6.2.3 says: the case of scheme and host, the scheme's own port and an empty
// path beside / make no difference.
type target struct {
	origin string // scheme, host and port
	path   string // without a slash at its end
	query  string
}

var schemePorts = map[string]string{"https": ":443", "http": ":80"}

// parseTarget reads a URL. ok is false for whatever is compared to the letter
// alone: other URIs, such as urn:example, and what could be read in two ways.
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
	host := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(u.Host), schemePorts[scheme]), ":")
	return target{origin: scheme + "://" + host, path: path, query: u.RawQuery}, true
}

// within reports whether a target is another one or lies below it.
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

// AudienceOf returns which of some audiences a resource means: the one that it
// is, or the innermost that it lies within (same origin, and a path below at a
// segment's border), in that one's own spelling.
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

// SameAudience reports whether two lists have an audience in common, in
// whatever spelling of RFC 3986 §6.2.3.
func SameAudience(these, those []string) bool {
	if slices.ContainsFunc(these, func(a string) bool { return slices.Contains(those, a) }) {
		return true // nearly always; guards ask on every request
	}
	return slices.ContainsFunc(these, func(a string) bool {
		t, isURL := parseTarget(a)
		return isURL && slices.ContainsFunc(those, func(b string) bool {
			other, ok := parseTarget(b)
			return ok && t == other
		})
	})
}

// errTarget refuses a resource, and says which and what would be right (RFC
// 8707 §2): the developer who reads it may not see what the device sent.
func errTarget(resource string, known []string) error {
	return NewError("invalid_target",
		"unknown audience or resource "+Quotable(resource)+"; known are: "+Quotable(strings.Join(known, " ")))
}

const maxQuoted = 500

// inASCII spells what our own messages have beyond an error_description.
var inASCII = strings.NewReplacer(`"`, "'", "…", "...", "§", "section ")

// Quotable makes what a client sent fit for an error_description, which is
// printable ASCII without quotes and backslashes (RFC 6749 §5.2), and for a log, which
// has no credentials.
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
