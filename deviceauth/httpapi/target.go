package httpapi

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// What is judged is what is sent: a proxy sends URL.RequestURI() to its
// backend, so a guard judges the path of that, in every meaning that some
// backend may find in it.

var (
	// ErrTarget refuses a request target that is no path.
	ErrTarget = badRequest("the request target must be a path, such as /v2/products?page=1 (RFC 9112 section 3.2.1)")
	// ErrPath refuses a path on whose meaning servers disagree.
	ErrPath = badRequest("the path has a dot segment, or too many encodings in one another; send it resolved (RFC 3986 section 5.2.4)")
	// ErrSpelling refuses a path that is spelled in an unusual way, where a
	// guard's matcher sees only one spelling.
	ErrSpelling = badRequest("the path must be spelled plainly here: no doubled slashes, backslashes, semicolons or encoded slashes")
)

// CheckTarget refuses a request that a proxy would send with another target
// than the path that matchers see: RFC 9112 §3.2's absolute-form, authority-form
// and what only looks like one of them. Go keeps `a:x` in URL.Opaque, where no
// matcher looks, and sends it. Of the asterisk-form only OPTIONS * is left.
func CheckTarget(r *http.Request) error {
	switch {
	case r.URL.Opaque != "":
		return ErrTarget
	case r.RequestURI == "*" || r.URL.Path == "*":
		if r.Method != http.MethodOptions {
			return ErrTarget
		}
	case r.RequestURI != "" && r.RequestURI[0] != '/', r.URL.Path != "" && r.URL.Path[0] != '/':
		return ErrTarget
	}
	return nil
}

// maxReadings bounds the readings of one path; a path that has more is refused.
const maxReadings = 64

// Readings returns what a path may mean to some server, beginning with what it
// means to Go. Servers disagree on doubled slashes, on a host after two of them,
// on backslashes, on `;parameters`, on percent-encoding within percent-encoding,
// on encoded slashes and question marks, and on what follows the name of a
// script. It returns [ErrPath] where a reading has a dot
// segment, which every honest client resolves before it sends it.
func Readings(u *url.URL) ([]string, error) {
	if u.RawPath == "" && isPlain(u.Path) {
		return []string{u.Path}, nil
	}
	all := []string{u.Path}
	if u.RawPath != "" {
		all = append(all, encodedSlashes(u.RawPath))
	}
	for i := 0; i < len(all); i++ {
		if hasDotSegment(all[i]) || len(all) > maxReadings {
			return nil, ErrPath
		}
		for _, reading := range readers {
			if other := reading(all[i]); other != "" && !slices.Contains(all, other) {
				all = append(all, other)
			}
		}
	}
	return all, nil
}

// CheckSpelling refuses a path that some server may read as another.
func CheckSpelling(u *url.URL) error {
	readings, err := Readings(u)
	if err == nil && len(readings) > 1 {
		return ErrSpelling
	}
	return err
}

// readers are the ways in which servers read a path that they have got.
var readers = []func(string) string{
	decoded, slashed, withoutParameters, withoutQuery, withoutHost, trimmed, merged, script, behindScript,
}

// isPlain reports whether a path means the same to all servers, but for its
// case and the slash at its end.
func isPlain(p string) bool {
	dots, before := false, byte(0)
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/' && (before == '/' || before == '.' || before == ' '), c == ';', c == '\\', c == '%', c == '?', c == '#', c == ':' && before == ':', c < ' ', c == 0x7f:
			return false
		case c == '.':
			dots = true
		}
		before = p[i]
	}
	if before == '.' || before == ' ' {
		return false
	}
	return !dots || !hasDotSegment(p) && !scriptName.MatchString(p)
}

// IsUnusual reports whether a path is spelled in a way that honest clients have
// no need of.
func IsUnusual(u *url.URL) bool {
	return strings.ContainsAny(u.Path, `;\%?#`) || strings.Contains(u.Path, "//") || strings.ContainsFunc(u.Path, unicode.IsControl) ||
		u.RawPath != "" && encodedSlashes(u.RawPath) != u.Path
}

// hasDotSegment reports whether a path has a segment . or .. in it. Servers
// disagree on what is left of one, beside an empty segment above all.
func hasDotSegment(p string) bool {
	if !strings.Contains(p, ".") {
		return false
	}
	for s := range strings.SplitSeq(p, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// decoded decodes what is percent-encoded, and leaves a stray % as it is.
func decoded(p string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	return escape.ReplaceAllStringFunc(p, func(code string) string {
		c, _ := hex.DecodeString(code[1:]) // two hexadecimal digits: cannot fail
		return string(c)
	})
}

var notSlash = regexp.MustCompile(`%(?:[013-46-9A-Fa-f][0-9A-Fa-f]|2[0-9A-Ea-e]|5[0-9ABD-Fabd-f])`)

// encodedSlashes decodes everything but slashes and backslashes: to some
// servers an encoded one is no border between segments.
func encodedSlashes(raw string) string { return notSlash.ReplaceAllStringFunc(raw, decoded) }

// slashed reads backslashes as slashes.
func slashed(p string) string { return strings.ReplaceAll(p, `\`, "/") }

// withoutParameters cuts off what follows a semicolon in a segment (RFC 3986 §3.3).
func withoutParameters(p string) string {
	if !strings.Contains(p, ";") {
		return p
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

// withoutQuery ends a path at an encoded ? or #, or at a control character,
// where a server decodes it before it looks for them.
func withoutQuery(p string) string {
	if i := strings.IndexFunc(p, func(c rune) bool { return c == '?' || c == '#' || unicode.IsControl(c) }); i > 0 {
		return p[:i]
	}
	return p
}

// withoutHost reads what follows two slashes at the beginning as a host, as
// parsers of relative URLs do (RFC 3986 §4.2).
func withoutHost(p string) string {
	if !strings.HasPrefix(p, "//") {
		return p
	}
	_, path, _ := strings.Cut(strings.TrimLeft(p, "/"), "/")
	return "/" + path
}

var endOfName = regexp.MustCompile(`(?:[. ]+|::\$[^/]*)(/|$)`)

// trimmed takes dots and spaces off the end of segments, and the name of a
// stream, as file systems of Windows do.
func trimmed(p string) string {
	if !strings.ContainsAny(p, ". :") {
		return p
	}
	return endOfName.ReplaceAllString(p, "$1")
}

var slashes = regexp.MustCompile(`//+`)

func merged(p string) string {
	if !strings.Contains(p, "//") {
		return p
	}
	return slashes.ReplaceAllString(p, "/")
}

// scriptName ends where the name of a script does. Servers that run scripts hand
// them the rest of the path (RFC 3875 §4.1.5).
var scriptName = regexp.MustCompile(`(?i)\.(?:php\d?|phtml|phar|cgi|fcgi|pl|py|rb|lua|asp|aspx|ashx|asmx|jsp|jspx|do|action|cfm|dll|exe)(?:/|$)`)

func script(p string) string {
	if at := scriptName.FindStringIndex(p); at != nil {
		return strings.TrimSuffix(p[:at[1]], "/")
	}
	return p
}

func behindScript(p string) string {
	if at := scriptName.FindStringIndex(p); at != nil && p[at[1]-1] == '/' {
		return p[at[1]-1:]
	}
	return p
}
