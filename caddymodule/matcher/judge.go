package matcher

import (
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// The decision whether a request is guarded.

// Judge reports whether a request is guarded. Besides the request itself it
// considers those that a server may derive from it (see
// [Matcher.derivedRequests]), the destination of a WebDAV request, and the URL
// before a rewrite. If any of them is guarded, the request is. A *deviceauth.Error
// means that the request is ambiguous, and is refused with 400; any other error is a
// fault of a matcher.
func (m *Matcher) Judge(r *http.Request) (bool, error) {
	if err := m.checkAmbiguous(r); err != nil {
		return false, err
	}
	asked := originalURL(r)
	derived, err := m.derivedRequests(r)
	if err != nil {
		return false, err
	}
	for _, one := range derived {
		guarded, err := m.judgeURL(one.Request, one.sets)
		if !guarded && err == nil && asked != nil {
			guarded, err = m.judgeOriginal(one, asked)
		}
		if guarded || err != nil {
			return guarded, err
		}
	}
	for _, destination := range r.Header["Destination"] { // RFC 4918 §10.3: COPY and MOVE write there
		if guarded, err := m.judgeDestination(r, destination); guarded || err != nil {
			return guarded, err
		}
	}
	return false, nil
}

// judgeOriginal decides by the URL before a rewrite: a rewrite before the guard,
// such as try_files, must not bypass the path that the client requested.
func (m *Matcher) judgeOriginal(one derivedRequest, asked *url.URL) (bool, error) {
	sets := one.sets
	if !guard.IsScript(one.URL.Path) { // a script also gets the original path, and may use it: all sets apply
		sets = forPaths(sets)
	}
	return m.judgeURL(withURL(one.Request, asked), sets)
}

// judgeDestination decides by the destination of a WebDAV request. Some servers read
// a value that begins with two slashes as a host and a path (RFC 3986 §4.2), others
// as a path.
func (m *Matcher) judgeDestination(r *http.Request, destination string) (bool, error) {
	there, err := url.Parse(destination)
	if err != nil || strings.ContainsAny(destination, "?#") || there.Opaque != "" ||
		!strings.HasPrefix(there.Path, "/") {
		return false, guard.ErrDestination
	}
	if guarded, err := m.judgeURL(withURL(r, there), m.sets); guarded || err != nil {
		return guarded, err
	}
	if !strings.HasPrefix(destination, "//") {
		return false, nil
	}
	if there, err = url.ParseRequestURI(destination); err != nil {
		return false, guard.ErrDestination
	}
	return m.judgeURL(withURL(r, there), m.sets)
}

// withURL returns a copy of the request with another URL, for matchers.
func withURL(r *http.Request, url *url.URL) *http.Request {
	other := *r
	other.URL = url
	return &other
}

// originalURL returns the URL of a request before it was rewritten, or nil if the
// path is unchanged.
func originalURL(r *http.Request) *url.URL {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL.Path == r.URL.Path {
		return nil
	}
	return original.URL
}

// checkAmbiguous refuses requests that a backend may interpret differently from the
// matchers: a method in lower case, or a host or a query about which parsers
// disagree. Host and query are checked only if a matcher uses them.
func (m *Matcher) checkAmbiguous(r *http.Request) error {
	// Methods are case-sensitive (RFC 9110 §9.1), but several servers accept them in
	// lower case.
	if r.Method != strings.ToUpper(r.Method) {
		return guard.ErrMethod
	}
	if m.hosts && !isPlainHost(r.Host) {
		return guard.ErrHost
	}
	if m.queries {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil || strings.Contains(r.URL.RawQuery, "#") { // which other parsers take for the end of the query
			return guard.ErrQuery
		}
		for name, of := range values { // PHP drops spaces before a name, and C ignores what follows a NUL
			if strings.TrimLeft(name, " ") != name || strings.ContainsFunc(name, unicode.IsControl) ||
				strings.Contains(strings.Join(of, ""), "\x00") {
				return guard.ErrQuery
			}
		}
	}
	return nil
}

// isPlainHost reports whether all servers read a Host header as the same host. With a
// trailing dot it is the same host in the DNS, but not for a matcher; and some
// servers end the host at the first colon, where a matcher sees no port and compares
// the whole value.
func isPlainHost(host string) bool {
	name, port, _ := strings.Cut(host, ":")
	if strings.HasPrefix(host, "[") { // an IPv6 address
		address, rest, closed := strings.Cut(host[1:], "]")
		if _, err := netip.ParseAddr(address); err != nil || !closed || rest != "" && rest[0] != ':' {
			return false
		}
		name, port = "", strings.TrimPrefix(rest, ":")
	}
	return !strings.HasSuffix(name, ".") && !strings.ContainsFunc(name, isNotOfHosts) &&
		!strings.ContainsFunc(port, func(r rune) bool { return r < '0' || r > '9' })
}

// isNotOfHosts reports whether a character cannot be part of a host name.
func isNotOfHosts(r rune) bool {
	return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
}

// judgeURL evaluates the matchers for one URL. A matcher with unknown rules can only
// be evaluated for the path that it sees, so with such a matcher a path with several
// readings is refused.
func (m *Matcher) judgeURL(r *http.Request, sets []matcherSet) (bool, error) {
	// A regular expression or an unknown rule sees only one spelling, so an unusual
	// spelling is refused.
	if (m.opaque || m.regexps) && guard.IsUnusual(r.URL) {
		return false, guard.ErrSpelling
	}
	readings, err := guard.Readings(r.URL)
	if err != nil {
		return false, err
	}
	// The matcher may also use a variable that was derived from one reading of the
	// path, which need not be the backend's.
	if m.opaque && guard.HasOtherReading(readings) {
		return false, guard.ErrSpelling
	}
	for _, set := range sets {
		if matches, err := matchesAll(set, r, readings); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}

// matchesAll reports whether every matcher of a set matches in some reading.
func matchesAll(set matcherSet, r *http.Request, readings []string) (bool, error) {
	for _, m := range set.matchers {
		if m.exempts && set.exempts.isRepeated(r) {
			continue
		}
		if matches, err := m.matchesAny(r, readings); !matches || err != nil {
			return false, err
		}
	}
	return true, nil
}

// matchesAny reports whether a matcher matches the request in some reading of its
// path.
func (m *readingMatcher) matchesAny(r *http.Request, readings []string) (bool, error) {
	matches, err := m.MatchWithError(r)
	if matches || err != nil || m.use == usesNoPath {
		return matches, err
	}
	for _, path := range m.variants(r.URL.Path, readings) {
		if matches, err := m.MatchWithError(m.read(r, path)); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}
