package guard

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// What is judged is what is sent: a proxy sends URL.RequestURI() to its
// backend, so a guard judges the path of that, in every meaning that some
// backend may find in it.

var (
	// ErrTarget refuses a request target that is no path.
	ErrTarget = malformed("the request target must be a path, such as /v2/products?page=1 (RFC 9112 section 3.2.1)")
	// ErrPath refuses a path on whose meaning servers disagree.
	ErrPath = malformed("the path has a dot segment, a control character, or too many ways to be read; send it resolved (RFC 3986 section 5.2.4)")
	// ErrSpelling refuses a path that is spelled in an unusual way, where a
	// guard's matcher sees only one spelling.
	ErrSpelling = malformed("the path must be spelled plainly here: no doubled slashes, backslashes, semicolons, and no encoded slash, percent or question mark")
	// ErrDestination refuses where a WebDAV request wants something copied or
	// moved to (RFC 4918 §10.3).
	ErrDestination = malformed("Destination must be a path or an http URL")
	// ErrMethod refuses a method that a backend may take for another.
	ErrMethod = malformed("the method must be in upper case (RFC 9110 section 9.1)")
	// ErrQuery refuses a query that servers read differently, where a matcher
	// looks at it.
	ErrQuery = malformed("the query is not well-formed: no semicolons and no stray percent")
	// ErrHost refuses a host that is spelled with a dot at its end, where a
	// matcher looks at it.
	ErrHost = malformed("the host must not end in a dot")
)

// CheckTarget refuses a request that a proxy would send with another target
// than the path that matchers see: RFC 9112 §3.2's absolute-form, authority-form
// and what only looks like one of them. Go keeps `a:x` in URL.Opaque, where no
// matcher looks, and sends it. Of the asterisk-form only OPTIONS * is left.
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

// The bounds of what is read in several ways. A path that is beyond them is
// refused: reading it would cost more than serving it.
const (
	maxReadings = 64   // of one path
	maxUnusual  = 2048 // bytes of a path that is not plain
)

// Readings returns what a path may mean to some server, beginning with what it
// means to Go. Servers disagree on doubled slashes, on a host after two of them,
// on backslashes, on `;parameters`, on percent-encoding within percent-encoding,
// on encoded slashes and question marks, and on what follows the name of a
// script. It returns [ErrPath] where a reading has a dot segment, which honest
// clients resolve before they send it, or a control character.
func Readings(u *url.URL) ([]string, error) {
	if u.RawPath == "" && isPlain(u.Path) {
		return []string{u.Path}, nil
	}
	if len(u.Path) > maxUnusual {
		return nil, ErrPath
	}
	all := []string{u.Path}
	if u.RawPath != "" {
		all = append(all, encodedSlashes(u.RawPath))
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
	readings, err := Readings(u)
	if err == nil && len(readings) > 1 {
		return ErrSpelling
	}
	return err
}

// readers are the ways in which servers read a path that they have got.
var readers = []func(string) string{
	decoded, slashed, withoutParameters, withoutQuery, withoutHost, trimmed, merged, script, behindScript, withoutScript, folded,
}

// isPlain reports whether a path means the same to all servers, but for its
// case and the slash at its end.
func isPlain(p string) bool {
	dots, foreign, before := false, false, byte(0)
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/' && (before == '/' || before == '.' || before == ' '), c == ';', c == '\\', c == '%', c == '?', c == '#', c == ':' && before == ':', c < ' ', c == 0x7f:
			return false
		case c >= utf8.RuneSelf:
			foreign = true
		case c == '.':
			dots = true
		}
		before = p[i]
	}
	if before == '.' || before == ' ' || foreign && (len(p) > maxUnusual || folded(p) != p) {
		return false
	}
	return !dots || !HasDotSegment(p) && scriptEnd(p) < 0
}

// IsUnusual reports whether a path is spelled in a way that honest clients have
// no need of.
func IsUnusual(u *url.URL) bool {
	return strings.ContainsAny(u.Path, `;\%?#`) || strings.Contains(u.Path, "//") || strings.ContainsFunc(u.Path, unicode.IsControl) ||
		u.RawPath != "" && encodedSlashes(u.RawPath) != u.Path
}

// HasDotSegment reports whether a path has a segment . or .. in it. Servers
// disagree on what is left of one, beside an empty segment above all.
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

// decoded decodes what is percent-encoded, and leaves a stray % as it is.
func decoded(p string) string { return decodedBut(p, "") }

// encodedSlashes decodes everything but slashes and backslashes: to some
// servers an encoded one is no border between segments.
func encodedSlashes(raw string) string { return decodedBut(raw, `/\`) }

// decodedBut decodes all characters but some.
func decodedBut(p, some string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	plain := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			high, low := hexDigit(p[i+1]), hexDigit(p[i+2])
			if c := byte(high<<4 | low); high >= 0 && low >= 0 && strings.IndexByte(some, c) < 0 {
				plain = append(plain, c)
				i += 2
				continue
			}
		}
		plain = append(plain, p[i])
	}
	return string(plain)
}

// hexDigit returns what a hexadecimal digit stands for, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

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

// withoutQuery ends a path at an encoded ? or #, where a server decodes it
// before it looks for them.
func withoutQuery(p string) string {
	if i := strings.IndexAny(p, "?#"); i > 0 {
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

// trimmed takes dots and spaces off the end of segments, and the name of a
// stream (::$DATA), as file systems of Windows do.
func trimmed(p string) string {
	if !strings.ContainsAny(p, ". :") {
		return p
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		s, _, _ = strings.Cut(s, "::$")
		segments[i] = strings.TrimRight(s, ". ")
	}
	return strings.Join(segments, "/")
}

// merged takes several slashes in a row for one.
func merged(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

// scripts are the ends of names that servers run, and hand the rest of the path
// (RFC 3875 §4.1.5).
var scripts = []string{
	"php", "php3", "php4", "php5", "php7", "php8", "phtml", "phar", "cgi", "fcgi", "pl", "py", "rb", "lua",
	"asp", "aspx", "ashx", "asmx", "jsp", "jspx", "do", "action", "cfm", "dll", "exe",
}

// scriptEnd returns where the name of the first script in a path ends, or -1.
func scriptEnd(p string) int {
	for i := strings.IndexByte(p, '.'); i >= 0; {
		end := strings.IndexAny(p[i+1:], "./")
		name := p[i+1:]
		if end >= 0 {
			name = p[i+1 : i+1+end]
		}
		last := i + 1 + len(name)
		if isScript := slices.ContainsFunc(scripts, func(s string) bool { return strings.EqualFold(s, name) }); isScript && (end < 0 || p[last] == '/') {
			return last
		}
		if end < 0 {
			return -1
		}
		next := strings.IndexByte(p[last:], '.')
		if next < 0 {
			return -1
		}
		i = last + next
	}
	return -1
}

func script(p string) string {
	if end := scriptEnd(p); end >= 0 {
		return p[:end]
	}
	return p
}

func behindScript(p string) string {
	if end := scriptEnd(p); end >= 0 && end < len(p) {
		return p[end:]
	}
	return p
}

// withoutScript takes the script out of a path: what /shop/index.php/api/x is
// to an application at /shop.
func withoutScript(p string) string {
	if end := scriptEnd(p); end >= 0 {
		return p[:strings.LastIndexByte(p[:end], '/')] + p[end:]
	}
	return p
}

// IsScript reports whether a path names a script. Servers that run one tell it
// what path was asked for before it was rewritten.
func IsScript(p string) bool { return scriptEnd(p) >= 0 }

// folds are letters that become ASCII where case is ignored as Unicode says.
var folds = strings.NewReplacer("\u017f", "s", "\u212a", "k", "\u0131", "i")

// folded reads letters as file systems and frameworks do that take full-width,
// composed and decomposed ones for the same (Unicode's NFKC).
func folded(p string) string {
	for i := range len(p) {
		if p[i] >= utf8.RuneSelf {
			return folds.Replace(norm.NFKC.String(p))
		}
	}
	return p
}
