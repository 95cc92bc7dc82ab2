package caddymodule

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// What a request may be for some server, besides what Caddy sees.

// A madeRequest is one that a server may make of the client's, and the sets that judge it.
type madeRequest struct {
	*http.Request
	sets []matcherSet
}

// madeRequests returns the client's request and those that a server may make of it. A proxy
// forwards an extended CONNECT (RFC 8441) as a GET with Upgrade, and most servers answer a
// HEAD by what they do for a GET, which no set judges that exempts the HEAD by its method,
// for monitors. Hosts are compared without regard to case and port by servers, and not by the
// matcher `header`.
func (m *guardMatcher) madeRequests(r *http.Request) ([]madeRequest, error) {
	all := []madeRequest{{Request: r, sets: m.sets}}
	switch r.Method {
	case http.MethodConnect:
		all = append(all, madeRequest{Request: withMethod(r, http.MethodGet), sets: m.sets})
	case http.MethodHead:
		others, err := m.notExempting(r)
		if err != nil {
			return nil, err
		}
		all = append(all, madeRequest{Request: withMethod(r, http.MethodGet), sets: others})
	}
	if !m.hostHeader {
		return all, nil
	}
	lower := strings.ToLower(r.Host)
	name, _, err := net.SplitHostPort(lower)
	if err != nil {
		name = lower
	}
	for _, one := range slices.Clone(all) {
		for _, host := range []string{lower, name} {
			if host != r.Host {
				other := *one.Request
				other.Host = host
				all = append(all, madeRequest{Request: &other, sets: one.sets})
			}
		}
	}
	return all, nil
}

// notExempting returns the sets but those that exempt a HEAD by a `not` that names it.
func (m *guardMatcher) notExempting(r *http.Request) (sets []matcherSet, err error) {
	readings, err := guard.Readings(r.URL)
	if err != nil {
		return nil, err
	}
	for _, set := range m.sets {
		exempt := false
		for _, one := range set.matchers {
			if one.exempts && set.exempts.head && !set.exempts.isRepeated(r) {
				matches, err := one.matchesAny(r, readings)
				if err != nil {
					return nil, err
				}
				exempt = !matches
			}
		}
		if !exempt {
			sets = append(sets, set)
		}
	}
	return sets, nil
}

// withMethod is the request with another method, also for an expression.
func withMethod(r *http.Request, method string) *http.Request {
	other := *r
	other.Method = method
	return withPlaceholders(&other, func(key string) (any, bool) { return method, key == "http.request.method" })
}

// forPaths are the sets that guard by a path. They also judge the path before a
// rewrite, because that is what the client asked for. Sets that only exempt do
// not: whether the rewritten path is exempt has been decided already.
func forPaths(all []matcherSet) (sets []matcherSet) {
	for _, set := range all {
		if slices.ContainsFunc(set.matchers, func(m readingMatcher) bool {
			return m.use == usesPathRules || m.use == usesPathRegexp
		}) {
			sets = append(sets, set)
		}
	}
	return sets
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
	as := withURL(r, &url.URL{Path: path, RawQuery: r.URL.RawQuery})
	if m.use <= usesPathRules {
		return as
	}
	// The expression must not see the original spelling by a placeholder.
	as.RequestURI = as.URL.RequestURI()
	vars := map[string]any{} // matchers set variables, which must not reach the request itself
	alone := as.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
	ofPath := caddyhttp.NewTestReplacer(alone)
	return withPlaceholders(as, func(key string) (any, bool) {
		if strings.HasPrefix(key, "http.request.uri") {
			return ofPath.Get(key)
		}
		return nil, false
	})
}

// withPlaceholders is the request with some placeholders of its own.
func withPlaceholders(r *http.Request, own func(key string) (any, bool)) *http.Request {
	asked, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl := caddy.NewEmptyReplacer()
	repl.Map(func(key string) (any, bool) {
		if value, ok := own(key); ok || asked == nil {
			return value, ok
		}
		return asked.Get(key)
	})
	return r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
}
