package guard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A proxy sends URL.RequestURI() to its backend. So a guard decides by the path of
// that, in every reading that some backend may have of it.

var (
	// ErrTarget refuses a request target that is not a path.
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
	// ErrDestination refuses a Destination header of WebDAV (RFC 4918 §10.3) that is
	// not a plain path or URL.
	ErrDestination = malformed("Destination must be a path or an http URL, without a query and a fragment")
	// ErrMethod refuses a method that a backend may take for another.
	ErrMethod = malformed("the method must be in upper case (RFC 9110 section 9.1)")
	// ErrQuery refuses a query that servers interpret differently, if a matcher uses
	// the query.
	ErrQuery = malformed("the query is not well-formed: no semicolons, no stray percent, no number sign and no NUL")
	// ErrHost refuses a host that servers interpret differently, if a matcher uses
	// the host.
	ErrHost = malformed("the host must be a name or an address, without a dot at its end, " +
		"and with one port in digits at most (RFC 9110 section 7.2)")
)

// CheckTarget refuses a request that a proxy would send with another target than the
// path that matchers see: absolute-form and authority-form of RFC 9112 §3.2, and
// anything that resembles them. Go keeps `a:x` in URL.Opaque, which no matcher reads,
// but sends it. Of asterisk-form only OPTIONS * is accepted.
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

// Limits for the readings of a path. A path beyond them is refused: otherwise an
// attacker could make the readings cost more than serving the request.
const (
	maxReadings = 64   // of one path
	maxUnusual  = 2048 // bytes of a path that is not plain
)

// Readings returns the paths that some server may read in a URL, beginning with the
// path as Go reads it. Servers disagree about doubled slashes, a host after two
// slashes, backslashes, `;parameters`, repeated percent-encoding, encoded slashes and
// question marks, what follows the name of a script, and overlong characters. It
// returns [ErrPath] if a reading has a control character, or a dot segment, which
// legitimate clients resolve before they send the path.
func Readings(u *url.URL) ([]string, error) {
	if u.RawPath == "" && isPlain(u.Path) {
		return []string{u.Path}, nil
	}
	if len(u.Path) > maxUnusual {
		return nil, ErrPath
	}
	all := []string{u.Path}
	// Lower-case digits, as in %c3, are another spelling but not another reading.
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

// CheckSpelling refuses a path that some server may read as another path.
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

// HasOtherReading reports whether the readings of a path, as returned by [Readings],
// mean anything else than the first one, for rules that see only that. Two kinds of
// readings do not: a path without the invisible characters that its writing system
// needs; and the directory of a script, if nothing follows the script's name. (A rule
// for exactly that directory does not apply to the scripts or to anything else in
// it.)
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

// readers are all ways in which servers read a path; see each function.
var readers = []func(string) string{
	decoded, withSlashes, withoutParameters, withoutQuery, withoutHost, withoutTrailingDots, withSingleSlashes,
	script, behindScript, withoutScript, normalized, shortest,
}

// isPlain reports whether all servers read a path alike, except for its case and a
// trailing slash. Most requests have such a path, so it costs one pass and no
// allocation.
func isPlain(p string) bool {
	dots, nonASCII, before := false, false, byte(0)
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/' && (before == '/' || before == '.' || before == ' '), before == ':' && (c == ':' || c == '$'),
			c == ';', c == '\\', c == '%', c == '?', c == '#', c < ' ', c == 0x7f:
			return false
		case c >= utf8.RuneSelf:
			nonASCII = true
		case c == '.':
			dots = true
		}
		before = p[i]
	}
	if before == '.' || before == ' ' || nonASCII && (len(p) > maxUnusual || normalized(p) != p || shortest(p) != p) {
		return false
	}
	return !dots || !HasDotSegment(p) && scriptEnd(p) < 0
}

// IsUnusual reports whether a path has a spelling that legitimate clients do not
// need.
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
