package caddymodule

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// The decision whether a request is guarded.

// judge decides whether the guard is for a request. Besides the request itself,
// three more count: where a WebDAV request writes to, the GET that a proxy or a server
// makes of an extended CONNECT or a HEAD, and the URL before a rewrite. If any of
// them is guarded, the request is. A protocol error of deviceauth means that the
// request is ambiguous, and is refused with 400; any other error is a matcher's
// fault.
func (m *guardMatcher) judge(r *http.Request) (bool, error) {
	if len(m.sets) == 0 {
		return true, nil
	}
	if err := m.checkAmbiguous(r); err != nil {
		return false, err
	}
	if guarded, err := m.judgeOne(r, m.sets); guarded || err != nil {
		return guarded, err
	}
	for _, other := range r.Header["Destination"] { // RFC 4918 §10.3: COPY and MOVE write there
		if guarded, err := m.judgeDestination(r, other); guarded || err != nil {
			return guarded, err
		}
	}
	// A proxy forwards an extended CONNECT (RFC 8441) as a GET with Upgrade, and most servers
	// answer a HEAD by what they do for a GET.
	if r.Method == http.MethodConnect || r.Method == http.MethodHead {
		if guarded, err := m.judgeOne(as(r, http.MethodGet, r.URL), m.sets); guarded || err != nil {
			return guarded, err
		}
	}
	// A rewrite before the guard, such as try_files, must not lead past the path
	// that the client asked for.
	asked := originalURL(r)
	switch {
	case asked == nil:
		return false, nil
	case guard.IsScript(r.URL.Path): // a script is told the original path, and may act on it: all sets apply
		return m.judgeOne(as(r, r.Method, asked), m.sets)
	}
	return m.judgeOne(as(r, r.Method, asked), m.forPaths())
}

// judgeDestination decides by where a WebDAV request writes to. What begins with two
// slashes is a host and a path for some servers (RFC 3986 §4.2), and for others a path.
func (m *guardMatcher) judgeDestination(r *http.Request, destination string) (bool, error) {
	to, err := url.Parse(destination)
	if err != nil || strings.ContainsAny(destination, "?#") || to.Opaque != "" || !strings.HasPrefix(to.Path, "/") {
		return false, guard.ErrDestination
	}
	if guarded, err := m.judgeOne(as(r, r.Method, to), m.sets); guarded || err != nil {
		return guarded, err
	}
	if !strings.HasPrefix(destination, "//") {
		return false, nil
	}
	if to, err = url.ParseRequestURI(destination); err != nil {
		return false, guard.ErrDestination
	}
	return m.judgeOne(as(r, r.Method, to), m.sets)
}

// as is a copy of the request with another method and URL, as matchers want to
// see it.
func as(r *http.Request, method string, to *url.URL) *http.Request {
	other := *r
	other.Method, other.URL = method, to
	return &other
}

// forPaths are the sets that guard by a path. They also judge the path before a
// rewrite, because that is what the client asked for. Sets that only exempt do
// not: whether the rewritten path is exempt has been decided already.
func (m *guardMatcher) forPaths() (sets [][]readingMatcher) {
	for _, set := range m.sets {
		if slices.ContainsFunc(set, func(m readingMatcher) bool {
			return m.use == usesPathRules || m.use == usesPathRegexp
		}) {
			sets = append(sets, set)
		}
	}
	return sets
}

// originalURL is the URL of a request before it was rewritten; nil if the path
// is unchanged.
func originalURL(r *http.Request) *url.URL {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL.Path == r.URL.Path {
		return nil
	}
	return original.URL
}

// checkAmbiguous refuses requests that a backend may understand differently from the
// matchers: a method in lower case, a host or a query that parsers disagree about. Host
// and query count only where a matcher looks at them.
func (m *guardMatcher) checkAmbiguous(r *http.Request) error {
	// Methods are case-sensitive (RFC 9110 §9.1), and several servers accept
	// them in lower case.
	if r.Method != strings.ToUpper(r.Method) {
		return guard.ErrMethod
	}
	if m.hosts && !isPlainHost(r.Host) {
		return guard.ErrHost
	}
	if m.queries {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil || strings.Contains(r.URL.RawQuery, "#") { // which ends the query for others
			return guard.ErrQuery
		}
		for name, of := range values { // PHP drops spaces before a name, and C what follows a NUL
			if strings.TrimLeft(name, " ") != name || strings.ContainsFunc(name, unicode.IsControl) ||
				strings.Contains(strings.Join(of, ""), "\x00") {
				return guard.ErrQuery
			}
		}
	}
	return nil
}

// isPlainHost reports whether all servers take a Host header for the same host. A dot at the
// end names the same host in the DNS, and another one to a matcher; and some servers end
// the host at the first colon, where a matcher sees no port and compares all of it.
func isPlainHost(host string) bool {
	name, port, _ := strings.Cut(host, ":")
	if strings.HasPrefix(host, "[") { // an address of IPv6
		address, rest, closed := strings.Cut(host[1:], "]")
		if _, err := netip.ParseAddr(address); err != nil || !closed || rest != "" && rest[0] != ':' {
			return false
		}
		name, port = "", strings.TrimPrefix(rest, ":")
	}
	return !strings.HasSuffix(name, ".") && !strings.ContainsFunc(name, isNotOfHosts) &&
		!strings.ContainsFunc(port, func(r rune) bool { return r < '0' || r > '9' })
}

// isNotOfHosts reports whether a character is in no name of a host.
func isNotOfHosts(r rune) bool {
	return (r|0x20 < 'a' || r|0x20 > 'z') && (r < '0' || r > '9') && !strings.ContainsRune("-._", r)
}

// judgeOne asks the matchers about one URL. A matcher by rules of its own can
// only be asked about what it sees, so with such a matcher a path that has
// several readings is refused.
func (m *guardMatcher) judgeOne(r *http.Request, sets [][]readingMatcher) (bool, error) {
	// A regular expression or an unknown rule sees one spelling, so an unusual
	// spelling is refused.
	if (m.opaque || m.regexps) && guard.IsUnusual(r.URL) {
		return false, guard.ErrSpelling
	}
	readings, err := guard.Readings(r.URL)
	if err != nil {
		return false, err
	}
	// The matcher may also look at a variable that was made of the path before:
	// of one reading, which need not be the backend's.
	if m.opaque && len(readings) > 1 {
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
func matchesAll(set []readingMatcher, r *http.Request, readings []string) (bool, error) {
	for _, m := range set {
		if matches, err := m.matchesAny(r, readings); !matches || err != nil {
			return false, err
		}
	}
	return true, nil
}

// matchesAny reports whether a matcher matches the request in some reading of
// its path.
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

// variants are the paths that a matcher is asked about besides the request's own.
// Caddy's `path` ignores case and has been widened; a matcher by rules of its
// own distinguishes case and a slash at the end, so it is asked about those
// variants, too. A slash is added only for a regular expression that does not
// exempt: an exemption of `*.css` is not meant for /a.css/.
func (m *readingMatcher) variants(own string, readings []string) []string {
	if m.use <= usesPathRules {
		return readings[1:]
	}
	all := slices.Clone(readings[1:])
	for _, path := range readings {
		if without, has := strings.CutSuffix(path, "/"); has && without != "" {
			all = append(all, without)
		} else if m.use == usesPathRegexp {
			all = append(all, path+"/")
		}
	}
	for _, path := range append(slices.Clone(all), own) {
		if lower := strings.ToLower(path); lower != path {
			all = append(all, lower)
		}
	}
	return all
}

// read is the request with its path in another spelling. For matchers by rules
// of their own, the placeholders of the URI and the variables have that
// spelling, too: an expression may look at {http.request.uri.path}.
func (m *readingMatcher) read(r *http.Request, path string) *http.Request {
	as := as(r, r.Method, &url.URL{Path: path, RawQuery: r.URL.RawQuery})
	if m.use <= usesPathRules {
		return as
	}
	// The expression must not see the original spelling by a placeholder.
	as.RequestURI = as.URL.RequestURI()
	asked := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	vars := map[string]any{} // matchers set variables, which must not reach the request itself
	alone := as.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
	ofPath, repl := caddyhttp.NewTestReplacer(alone), caddy.NewEmptyReplacer()
	repl.Map(func(key string) (any, bool) {
		if strings.HasPrefix(key, "http.request.uri") {
			return ofPath.Get(key)
		}
		return asked.Get(key)
	})
	return as.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
}
