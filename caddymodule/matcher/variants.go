package matcher

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

// Requests that servers may derive from the client's request.

// A derivedRequest is a request that a server may derive from the client's, with the
// matcher sets that apply to it.
type derivedRequest struct {
	*http.Request
	sets []matcherSet
}

// derivedRequests returns the client's request and those that a server may derive
// from it. A proxy forwards an extended CONNECT (RFC 8441) as a GET with Upgrade.
// Most servers handle a HEAD like a GET; a set that exempts HEAD by its method, as
// for monitors, does not apply to that GET. Servers compare hosts without regard to
// case and port, but the matcher `header` does not.
func (m *Matcher) derivedRequests(r *http.Request) ([]derivedRequest, error) {
	all := []derivedRequest{{Request: r, sets: m.sets}}
	switch r.Method {
	case http.MethodConnect:
		all = append(all, derivedRequest{Request: withMethod(r, http.MethodGet), sets: m.sets})
	case http.MethodHead:
		others, err := m.notExempting(r)
		if err != nil {
			return nil, err
		}
		all = append(all, derivedRequest{Request: withMethod(r, http.MethodGet), sets: others})
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
				all = append(all, derivedRequest{Request: &other, sets: one.sets})
			}
		}
	}
	return all, nil
}

// notExempting returns the sets except those that exempt HEAD by a `not` with this
// method.
func (m *Matcher) notExempting(r *http.Request) (sets []matcherSet, err error) {
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

// withMethod returns the request with another method, which expressions see, too.
func withMethod(r *http.Request, method string) *http.Request {
	other := *r
	other.Method = method
	return withPlaceholders(&other, func(key string) (any, bool) { return method, key == "http.request.method" })
}

// forPaths returns the sets that guard by a path. These also apply to the path before
// a rewrite, which is what the client requested. Sets that only exempt do not:
// whether the rewritten path is exempt has been decided already.
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

// variants returns the paths that a matcher is evaluated for besides the request's
// own. Caddy's `path` ignores case and has been widened; a matcher with its own rules
// distinguishes case and a trailing slash, so it is evaluated for these variants,
// too. A slash is added only for a regular expression that does not exempt: an
// exemption of `*.css` is not meant for /a.css/.
func (m *readingMatcher) variants(own string, readings []string) []string {
	if !m.use.hasOwnRules() {
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

// read returns the request with another spelling of its path. For matchers with their
// own rules the placeholders of the URI and the variables have that spelling, too: an
// expression may use {http.request.uri.path}.
func (m *readingMatcher) read(r *http.Request, path string) *http.Request {
	as := withURL(r, &url.URL{Path: path, RawQuery: r.URL.RawQuery})
	if !m.use.hasOwnRules() {
		return as
	}
	// The expression must not see the original spelling in a placeholder.
	as.RequestURI = as.URL.RequestURI()
	vars := map[string]any{} // matchers set variables, which must not be set on the request itself
	alone := as.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
	ofPath := caddyhttp.NewTestReplacer(alone)
	return withPlaceholders(as, func(key string) (any, bool) {
		if strings.HasPrefix(key, "http.request.uri") {
			return ofPath.Get(key)
		}
		return nil, false
	})
}

// withPlaceholders returns the request with some placeholders replaced by own.
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
