package routes

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// Which paths and hosts matchers may match, for the metadata of a resource. Metadata with
// too many servers are harmless, but not with too few: what is not known counts as
// matching.

// coversPath reports whether one of the sets may match a request for a path, or for
// something below it; without sets every request matches.
func coversPath(sets caddyhttp.MatcherSets, r *http.Request, path string) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		return all(set, func(m any) bool { return mayMatch(m, r, path) })
	})
}

// coversHost reports whether one of the sets may match a request for the host of r;
// without sets every request matches.
func coversHost(sets caddyhttp.MatcherSets, r *http.Request) bool {
	return len(sets) == 0 || slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		return all(set, func(m any) bool {
			host, ok := m.(*caddyhttp.MatchHost)
			return !ok || matches(host, r)
		})
	})
}

// all reports whether a condition is true for all matchers of a set.
func all(set caddyhttp.MatcherSet, is func(any) bool) bool {
	return !slices.ContainsFunc(set, func(m any) bool { return !is(m) })
}

// mayMatch reports whether a matcher matches some request for a path or, if the
// matcher is a list of paths, for something below it. Other kinds of matchers count
// as matching.
func mayMatch(matcher any, r *http.Request, path string) bool {
	switch m := matcher.(type) {
	case caddyhttp.MatchPath:
		return matches(m, forPath(r, path)) ||
			slices.ContainsFunc(m, func(pattern string) bool { return isBelow(pattern, path) })
	case *caddyhttp.MatchPath:
		return mayMatch(*m, r, path)
	case *caddyhttp.MatchNot:
		// The path is exempt only if an inner set matches all requests for it.
		return !slices.ContainsFunc(m.MatcherSets, func(set caddyhttp.MatcherSet) bool {
			return all(set, func(inner any) bool { return mustMatch(inner, r, path) })
		})
	case *caddyhttp.MatchPathRE, *caddyhttp.MatchExpression:
		return matches(m, forPath(r, path))
	}
	return true
}

// mustMatch reports whether a matcher matches all requests for a path.
func mustMatch(matcher any, r *http.Request, path string) bool {
	switch matcher.(type) {
	case caddyhttp.MatchPath, *caddyhttp.MatchPath, *caddyhttp.MatchPathRE, *caddyhttp.MatchExpression:
		return matches(matcher, forPath(r, path))
	}
	return false
}

// isBelow reports whether everything that a path pattern matches is below a path.
func isBelow(pattern, path string) bool {
	literal, _, _ := strings.Cut(strings.ToLower(pattern), "*")
	return strings.HasPrefix(literal, strings.ToLower(strings.TrimSuffix(path, "/"))+"/")
}

// forPath returns a copy of the request for another path, for matchers.
func forPath(r *http.Request, path string) *http.Request {
	other := *r
	other.URL = &url.URL{Path: cmp.Or(path, "/")}
	return &other
}

// matches reports whether a matcher matches a request. A matcher that fails, or one
// of Caddy's older kind without errors, counts as matching.
func matches(matcher any, r *http.Request) bool {
	m, ok := matcher.(caddyhttp.RequestMatcherWithError)
	if !ok {
		return true
	}
	ok, err := m.MatchWithError(r)
	return ok || err != nil
}
