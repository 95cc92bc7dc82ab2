package guard

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The readings of a path, each a function that returns the path as some server
// interprets it. [Readings] applies all of them until no new path appears. A reading
// must not be left out because it is unlikely: one server that interprets a path in
// this way is enough to bypass a guard.

// decoded decodes percent-encoding, and keeps a stray % as it is.
func decoded(p string) string { return decodedBut(p, "") }

// encodedSlashes decodes everything but slashes and backslashes: for some
// servers an encoded slash does not separate segments.
func encodedSlashes(raw string) string { return decodedBut(raw, `/\`) }

// decodedBut decodes all percent-encoded characters except some.
func decodedBut(p, some string) string {
	if !strings.Contains(p, "%") {
		return p
	}
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); i++ {
		if p[i] == '%' && i+2 < len(p) {
			high, low := hexDigit(p[i+1]), hexDigit(p[i+2])
			if c := byte(high<<4 | low); high >= 0 && low >= 0 && strings.IndexByte(some, c) < 0 {
				out = append(out, c)
				i += 2
				continue
			}
		}
		out = append(out, p[i])
	}
	return string(out)
}

// hexDigit returns the value of a hexadecimal digit, or -1.
func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// withSlashes reads backslashes as slashes.
func withSlashes(p string) string { return strings.ReplaceAll(p, `\`, "/") }

// withoutParameters removes parameters from segments: a semicolon and what follows it
// (RFC 3986 §3.3).
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

// withoutQuery cuts off a path at an encoded ? or #, as servers do that decode the
// path before they look for these characters.
func withoutQuery(p string) string {
	if i := strings.IndexAny(p, "?#"); i > 0 {
		return p[:i]
	}
	return p
}

// withoutHost reads what follows two slashes at the beginning as a host, as parsers
// of relative URLs do (RFC 3986 §4.2).
func withoutHost(p string) string {
	if !strings.HasPrefix(p, "//") {
		return p
	}
	_, path, _ := strings.Cut(strings.TrimLeft(p, "/"), "/")
	return "/" + path
}

// withoutTrailingDots removes dots and spaces from the end of segments, and the name
// and type of a stream (::$DATA, :$I30:$INDEX_ALLOCATION), as file systems of Windows
// do.
func withoutTrailingDots(p string) string {
	if !strings.ContainsAny(p, ". :") {
		return p
	}
	segments := strings.Split(p, "/")
	for i, s := range segments {
		if name, _, ok := strings.Cut(s, ":$"); ok {
			s = strings.TrimSuffix(name, ":")
		}
		segments[i] = strings.TrimRight(s, ". ")
	}
	return strings.Join(segments, "/")
}

// withSingleSlashes replaces several slashes in a row by one, as most file systems
// and many routers do.
func withSingleSlashes(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

// scripts are the file name extensions that servers execute. Such a server passes the
// rest of the path to the script (PATH_INFO, RFC 3875 §4.1.5).
var scripts = []string{
	"php", "php3", "php4", "php5", "php7", "php8", "phtml", "phar", "cgi", "fcgi", "pl", "py", "rb", "lua",
	"asp", "aspx", "ashx", "asmx", "axd", "svc", "mvc", "jsp", "jspx", "do", "action", "cfm", "cfc", "dll", "exe",
	"wsgi", "psgi", "shtml",
}

// scriptEnd returns the index after the name of the first script in a path, or -1.
func scriptEnd(p string) int {
	for i := strings.IndexByte(p, '.'); i >= 0; {
		end := strings.IndexAny(p[i+1:], "./")
		name := p[i+1:]
		if end >= 0 {
			name = p[i+1 : i+1+end]
		}
		last := i + 1 + len(name)
		isScript := slices.ContainsFunc(scripts, func(s string) bool { return strings.EqualFold(s, name) })
		if isScript && (end < 0 || p[last] == '/') {
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

// script returns the path up to the end of the script's name, which is what a server
// executes.
func script(p string) string {
	if end := scriptEnd(p); end >= 0 {
		return p[:end]
	}
	return p
}

// behindScript returns the path after the script's name, which the script reads as
// the path of the request.
func behindScript(p string) string {
	if end := scriptEnd(p); end >= 0 && end < len(p) {
		return p[end:]
	}
	return p
}

// withoutScript removes the script's name from a path: /shop/index.php/api/x is
// /shop/api/x for an application at /shop.
func withoutScript(p string) string {
	if end := scriptEnd(p); end >= 0 {
		return p[:strings.LastIndexByte(p[:end], '/')] + p[end:]
	}
	return p
}

// IsScript reports whether a path names a script. A server that executes a script
// also passes it the path before a rewrite.
func IsScript(p string) bool { return scriptEnd(p) >= 0 }

// folds maps characters to ASCII that become ASCII letters when Unicode's rules
// change their case, and those that Windows converts to ASCII for a code page (best
// fit).
var folds = strings.NewReplacer("\u017f", "s", "\u212a", "k", "\u0131", "i",
	"\u2044", "/", "\u2215", "/", "\u2216", `\`, "\u00a5", `\`, "\u20a9", `\`, "\u221a", "v")

// normalized returns a path as it is seen by file systems and frameworks that compare
// by Unicode's NFKC: full-width, composed and decomposed letters are the same.
// Invisible characters are removed, because some file systems ignore them.
func normalized(p string) string {
	for i := range len(p) {
		if p[i] >= utf8.RuneSelf {
			return folds.Replace(withoutIgnored(norm.NFKC.String(p)))
		}
	}
	return p
}

// isIgnored reports whether a character is invisible when it is displayed.
func isIgnored(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector)
}

// withoutIgnored removes invisible characters, and keeps bytes that are not UTF-8.
func withoutIgnored(p string) string {
	if !strings.ContainsFunc(p, isIgnored) {
		return p
	}
	out := make([]byte, 0, len(p))
	for i, size := 0, 0; i < len(p); i += size {
		var r rune
		if r, size = utf8.DecodeRuneInString(p[i:]); !isIgnored(r) {
			out = append(out, p[i:i+size]...)
		}
	}
	return string(out)
}

// withoutJoiners removes invisible characters where a writing system needs them:
// after characters that are neither ASCII nor Latin, Greek or Cyrillic letters, as
// in Persian and in emoji.
func withoutJoiners(p string) string {
	out := make([]rune, 0, len(p))
	needed := false
	for _, r := range p {
		if needed && isIgnored(r) {
			continue
		}
		needed = r >= utf8.RuneSelf && !isIgnored(r) && !unicode.In(r, unicode.Latin, unicode.Greek, unicode.Cyrillic)
		out = append(out, r)
	}
	return string(out)
}

// shortest decodes overlong UTF-8, that is, ASCII characters that are encoded in more
// bytes than they need (RFC 3629 §3), as lenient decoders do: they read C0 AF as a
// slash. In other encodings such bytes are legitimate letters.
func shortest(p string) string {
	if !strings.ContainsFunc(p, func(r rune) bool { return r == utf8.RuneError }) {
		return p
	}
	out := make([]byte, 0, len(p))
	for i := 0; i < len(p); {
		c, size := overlong(p[i:])
		out = append(out, c)
		i += size
	}
	return string(out)
}

// overlong decodes the overlong ASCII character at the beginning of a text and
// returns it with its length. If there is none it returns the first byte and 1.
func overlong(p string) (c byte, size int) {
	for _, form := range [...]string{"\xc0", "\xc1", "\xe0\x80", "\xe0\x81", "\xf0\x80\x80", "\xf0\x80\x81",
		"\xf8\x80\x80\x80", "\xf8\x80\x80\x81", "\xfc\x80\x80\x80\x80", "\xfc\x80\x80\x80\x81"} {
		last := len(form)
		if !strings.HasPrefix(p, form) || len(p) == last {
			continue
		}
		// Some decoders do not check that the last byte is a continuation byte. Any
		// other byte than these two is more often a legitimate letter, as in GBK.
		if p[last]&0xc0 != 0x80 && p[last] != '.' && p[last] != '/' {
			continue
		}
		// The last byte has six bits, and the byte before it the seventh. Of the
		// control characters only NUL counts, which ends a string: the others are
		// legitimate letters, too.
		if c := form[last-1]&1<<6 | p[last]&0x3f; c == 0 || c >= ' ' && c < 0x7f {
			return c, last + 1
		}
	}
	return p[0], 1
}
