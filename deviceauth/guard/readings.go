package guard

import (
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The ways in which servers read one path, each a function from a path to
// another reading of it. [Readings] applies all of them until nothing new
// appears. A reading must never be left out because it is unlikely: one server
// that reads a path so is enough to get past a guard.

// decoded decodes what is percent-encoded, and leaves a stray % as it is.
func decoded(p string) string { return decodedBut(p, "") }

// encodedSlashes decodes everything but slashes and backslashes: for some
// servers an encoded slash does not separate segments.
func encodedSlashes(raw string) string { return decodedBut(raw, `/\`) }

// decodedBut decodes all percent-encoded characters but some.
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

// withSlashes reads backslashes as slashes.
func withSlashes(p string) string { return strings.ReplaceAll(p, `\`, "/") }

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

// withoutTrailingDots takes dots and spaces off the end of segments, and the name of a
// stream (::$DATA), as file systems of Windows do.
func withoutTrailingDots(p string) string {
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

// withSingleSlashes takes several slashes in a row for one slash, as most file systems and
// many routers do.
func withSingleSlashes(p string) string {
	for strings.Contains(p, "//") {
		p = strings.ReplaceAll(p, "//", "/")
	}
	return p
}

// scripts are the file name extensions that servers execute. Such a server hands
// the script the rest of the path (RFC 3875 §4.1.5, PATH_INFO).
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

// script is the path up to the end of the script's name: what a server executes.
func script(p string) string {
	if end := scriptEnd(p); end >= 0 {
		return p[:end]
	}
	return p
}

// behindScript is the path behind the script's name: what the script takes for
// its path.
func behindScript(p string) string {
	if end := scriptEnd(p); end >= 0 && end < len(p) {
		return p[end:]
	}
	return p
}

// withoutScript takes the script's name out of a path: /shop/index.php/api/x is
// /shop/api/x for an application at /shop.
func withoutScript(p string) string {
	if end := scriptEnd(p); end >= 0 {
		return p[:strings.LastIndexByte(p[:end], '/')] + p[end:]
	}
	return p
}

// IsScript reports whether a path names a script. A server that runs a script
// also tells it the path before a rewrite.
func IsScript(p string) bool { return scriptEnd(p) >= 0 }

// folds are letters outside ASCII that Unicode's rules for case turn into ASCII
// letters.
var folds = strings.NewReplacer("\u017f", "s", "\u212a", "k", "\u0131", "i")

// normalized reads letters as file systems and frameworks do that compare by
// Unicode's NFKC: full-width, composed and decomposed letters are the same.
func normalized(p string) string {
	for i := range len(p) {
		if p[i] >= utf8.RuneSelf {
			return folds.Replace(norm.NFKC.String(p))
		}
	}
	return p
}
