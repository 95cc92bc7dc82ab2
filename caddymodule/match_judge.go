package caddymodule

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// Whether a request is guarded.

// judge decides whether the guard is for a request. A refusal is the request's
// fault (400).
func (m *guardMatcher) judge(r *http.Request) (bool, error) {
	if len(m.sets) == 0 {
		return true, nil
	}
	if err := m.refuse(r); err != nil {
		return false, err
	}
	if guarded, err := m.judgeOne(r, m.sets); guarded || err != nil {
		return guarded, err
	}
	for _, other := range r.Header["Destination"] { // of WebDAV
		to, err := url.Parse(other)
		if err != nil || to.Opaque != "" || !strings.HasPrefix(to.Path, "/") {
			return false, guard.ErrDestination
		}
		if guarded, err := m.judgeOne(as(r, r.Method, to), m.sets); guarded || err != nil {
			return guarded, err
		}
	}
	if r.Method == http.MethodConnect { // of HTTP/2 and HTTP/3 (RFC 8441): a proxy sends it as a GET that upgrades
		if guarded, err := m.judgeOne(as(r, http.MethodGet, r.URL), m.sets); guarded || err != nil {
			return guarded, err
		}
	}
	asked := originalURL(r)
	switch {
	case asked == nil:
		return false, nil
	case guard.IsScript(r.URL.Path): // it is told what was asked for, and nothing else may exempt it
		return m.judgeOne(as(r, r.Method, asked), m.sets)
	}
	return m.judgeOne(as(r, r.Method, asked), m.forPaths())
}

// as is a request for something else.
func as(r *http.Request, method string, to *url.URL) *http.Request {
	other := *r
	other.Method, other.URL = method, to
	return &other
}

// forPaths are the sets that name what is guarded by its path. A path that a
// rewrite took away is guarded by them too; what the others exempt is for them
// to say of the path that there is now.
func (m *guardMatcher) forPaths() (sets [][]readingMatcher) {
	for _, set := range m.sets {
		if slices.ContainsFunc(set, func(m readingMatcher) bool { return m.looks == looksPlainly || m.looks == looksRegexp }) {
			sets = append(sets, set)
		}
	}
	return sets
}

// originalURL is what a request was for, where that was rewritten; nil: it was not.
func originalURL(r *http.Request) *url.URL {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL.Path == r.URL.Path {
		return nil
	}
	return original.URL
}

// refuse refuses what a backend may take for another request than the matchers do.
func (m *guardMatcher) refuse(r *http.Request) error {
	if r.Method != strings.ToUpper(r.Method) {
		return guard.ErrMethod
	}
	if m.hosts && (strings.HasSuffix(r.Host, ".") || strings.Contains(r.Host, ".:")) {
		return guard.ErrHost
	}
	if m.queries {
		values, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return guard.ErrQuery
		}
		for name := range values { // PHP takes off spaces before a name, and what follows a NUL
			if strings.TrimLeft(name, " ") != name || strings.ContainsFunc(name, unicode.IsControl) {
				return guard.ErrQuery
			}
		}
	}
	return nil
}

func (m *guardMatcher) judgeOne(r *http.Request, sets [][]readingMatcher) (bool, error) {
	if (m.opaque || m.regexps) && guard.IsUnusual(r.URL) {
		return false, guard.ErrSpelling
	}
	readings, err := guard.Readings(r.URL)
	if err != nil {
		return false, err
	}
	if m.opaque && len(readings) > 1 { // also what was made of the path before, such as vars, was made of one
		return false, guard.ErrSpelling
	}
	for _, set := range sets {
		if matches, err := matchesAll(set, r, readings); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}

func matchesAll(set []readingMatcher, r *http.Request, readings []string) (bool, error) {
	for _, m := range set {
		if matches, err := m.matchesAny(r, readings); !matches || err != nil {
			return false, err
		}
	}
	return true, nil
}

// matchesAny reports whether the request matches in some reading of its path.
func (m *readingMatcher) matchesAny(r *http.Request, readings []string) (bool, error) {
	matches, err := m.MatchWithError(r)
	if matches || err != nil || m.looks == looksNowhere {
		return matches, err
	}
	for _, path := range m.asks(r.URL.Path, readings) {
		if matches, err := m.MatchWithError(m.read(r, path)); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}

// asks are the paths that a matcher is asked about beside the request's own.
// What looks at paths in a way of its own tells case and the slash at the end.
// It is not asked with one more slash unless it is known to be no exemption: of
// /a.css/ nobody would say that it ends in .css.
func (m *readingMatcher) asks(own string, readings []string) []string {
	if m.looks <= looksPlainly {
		return readings[1:]
	}
	all := slices.Clone(readings[1:])
	for _, path := range readings {
		if without, has := strings.CutSuffix(path, "/"); has && without != "" {
			all = append(all, without)
		} else if m.looks == looksRegexp {
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

// read is a request as if its path were spelled otherwise, also for the
// placeholders that a matcher may look at.
func (m *readingMatcher) read(r *http.Request, path string) *http.Request {
	as := as(r, r.Method, &url.URL{Path: path, RawQuery: r.URL.RawQuery})
	if m.looks <= looksPlainly {
		return as
	}
	as.RequestURI = as.URL.RequestURI()
	asked := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	alone := as.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, map[string]any{})) // some are set there
	ofPath, repl := caddyhttp.NewTestReplacer(alone), caddy.NewEmptyReplacer()
	repl.Map(func(key string) (any, bool) {
		if strings.HasPrefix(key, "http.request.uri") {
			return ofPath.Get(key)
		}
		return asked.Get(key)
	})
	return as.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
}
