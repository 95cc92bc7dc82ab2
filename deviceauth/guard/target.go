package guard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A proxy sends URL.RequestURI() to its backend. So a guard judges the path of
// that, in every reading that some backend may have of it.

var (
	// ErrTarget refuses a request target that is no path.
	ErrTarget = malformed("the request target must be a path, " +
		"such as /v2/products?page=1 (RFC 9112 section 3.2.1)")
	// ErrPath refuses a path on whose meaning servers disagree.
	ErrPath = malformed("the path has a dot segment, a control character, or too many ways to be read; " +
		"send it resolved (RFC 3986 section 5.2.4)")
	// ErrSpelling refuses a path that is spelled in an unusual way, where a
	// guard's matcher sees only one spelling.
	ErrSpelling = malformed("the path must be spelled plainly here: no doubled slashes, backslashes, semicolons, " +
		"no encoded slash, percent or question mark, no path behind the name of a script, no dot or space at the " +
		"end of a segment, and no letters that another spelling is more usual for")
	// ErrDestination refuses where a WebDAV request wants something copied or
	// moved to (RFC 4918 §10.3).
	ErrDestination = malformed("Destination must be a path or an http URL, without a query and a fragment")
	// ErrMethod refuses a method that a backend may take for another.
	ErrMethod = malformed("the method must be in upper case (RFC 9110 section 9.1)")
	// ErrQuery refuses a query that servers read differently, where a matcher
	// looks at it.
	ErrQuery = malformed("the query is not well-formed: no semicolons, no stray percent, no number sign and no NUL")
	// ErrHost refuses a host that servers read differently, where a matcher looks
	// at it.
	ErrHost = malformed("the host must be a name or an address, without a dot at its end, " +
		"and with one port in digits at most (RFC 9110 section 7.2)")
)

// CheckTarget refuses a request that a proxy would send with another target than
// the path that matchers see: absolute-form and authority-form of RFC 9112 §3.2,
// and what only looks like one of them. Go keeps `a:x` in URL.Opaque, where no
// matcher looks, and sends it. Of asterisk-form only OPTIONS * is accepted.
func CheckTarget(r *http.Request) error {
	switch {
	case r.URL.Opaque != "", r.Method == http.MethodConnect && !strings.HasPrefix(r.RequestURI, "/"):
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

// The bounds of the readings of a path. A path beyond them is refused: an
// attacker could otherwise make reading cost more than serving.
const (
	maxReadings = 64   // of one path
	maxUnusual  = 2048 // bytes of a path that is not plain
)

// Readings returns what a path may mean to some server, beginning with what it
// means to Go. Servers disagree on doubled slashes, on a host after two of them,
// on backslashes, on `;parameters`, on percent-encoding within percent-encoding,
// on encoded slashes and question marks, on what follows the name of a script, and
// on characters in more bytes than they need. It returns [ErrPath] where a reading has
// a dot segment, which honest clients resolve before they send it, or a control character.
func Readings(u *url.URL) ([]string, error) {
	if u.RawPath == "" && isPlain(u.Path) {
		return []string{u.Path}, nil
	}
	if len(u.Path) > maxUnusual {
		return nil, ErrPath
	}
	all := []string{u.Path}
	// Digits in lower case, as in %c3, are another spelling and no other reading.
	if raw := encodedSlashes(u.RawPath); raw != "" && raw != u.Path {
		all = append(all, raw)
	}
	for i := 0; i < len(all); i++ {
		if HasDotSegment(all[i]) || strings.ContainsFunc(all[i], unicode.IsControl) || len(all) > maxReadings {
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
	if u.RawPath == "" && isPlain(u.Path) { // nearly always
		return nil
	}
	readings, err := Readings(u)
	if err == nil && HasOtherReading(readings) {
		return ErrSpelling
	}
	return err
}

// HasOtherReading reports whether the readings of a path, as [Readings] returns them, mean
// anything else than the first, for rules that see only that one. Two do not: what is left
// without characters that are not seen, where writing needs them; and the directory of a
// script, with nothing behind its name. (A rule for exactly that directory is not asked about
// its scripts, nor about anything else in it.)
func HasOtherReading(readings []string) bool {
	own, directory := withoutJoiners(readings[0]), ""
	if scriptEnd(own) == len(own) {
		directory = withoutScript(own)
	}
	return slices.ContainsFunc(readings[1:], func(p string) bool {
		other := withoutJoiners(p)
		return other != own && (directory == "" || other != directory)
	})
}

// readers are the ways in which servers read a path; see each function.
var readers = []func(string) string{
	decoded, withSlashes, withoutParameters, withoutQuery, withoutHost, withoutTrailingDots, withSingleSlashes,
	script, behindScript, withoutScript, normalized, shortest,
}

// isPlain reports whether all servers read a path alike, but for its case and a
// slash at its end. Most requests have such a path, so it costs one pass without
// an allocation.
func isPlain(p string) bool {
	dots, foreign, before := false, false, byte(0)
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/' && (before == '/' || before == '.' || before == ' '), before == ':' && (c == ':' || c == '$'),
			c == ';', c == '\\', c == '%', c == '?', c == '#', c < ' ', c == 0x7f:
			return false
		case c >= utf8.RuneSelf:
			foreign = true
		case c == '.':
			dots = true
		}
		before = p[i]
	}
	if before == '.' || before == ' ' || foreign && (len(p) > maxUnusual || normalized(p) != p || shortest(p) != p) {
		return false
	}
	return !dots || !HasDotSegment(p) && scriptEnd(p) < 0
}

// IsUnusual reports whether a path has a spelling that clients have no need of.
func IsUnusual(u *url.URL) bool {
	return strings.ContainsAny(u.Path, `;\%?#`) || strings.Contains(u.Path, "//") ||
		strings.ContainsFunc(u.Path, unicode.IsControl) || u.RawPath != "" && encodedSlashes(u.RawPath) != u.Path
}

// HasDotSegment reports whether a path has a segment `.` or `..`. Servers
// resolve such segments differently, above all beside an empty segment.
func HasDotSegment(p string) bool {
	if !strings.Contains(p, ".") {
		return false
	}
	for s := range strings.SplitSeq(p, "/") {
		if s = strings.TrimRight(s, " "); s == "." || s == ".." {
			return true
		}
	}
	return false
}
