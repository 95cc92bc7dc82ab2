// Package matcher decides which requests a guard guards: it evaluates Caddy's matchers for
// every reading of a request's path, and for every request that a server may derive from
// it, and refuses requests that servers read in different ways. The guard of caddymodule
// calls it. It knows no tokens and no routes; which readings a path has is written in
// package guard.
package matcher

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// A Matcher decides which requests a guard guards. Servers read a path in
// different ways: decoded once or twice, with or without double slashes, with or
// without regard to case. So each matcher is evaluated for every such reading. A path
// is guarded if any reading of it matches, and exempt, by `not`, only if every
// reading is exempt: the guard protects the path however the backend reads it.
type Matcher struct {
	sets   []matcherSet          // one set must match, with all its matchers; none: every request
	loaded caddyhttp.MatcherSets // the same as Caddy has them

	opaque     bool // a matcher uses what was derived from a path before, or has unknown rules
	regexps    bool // a matcher is a regular expression for the path
	queries    bool // a matcher uses the query
	hosts      bool // a matcher uses the host
	hostHeader bool // a matcher of headers uses the host, and compares it as text
}

// A matcherSet are matchers that must all match.
type matcherSet struct {
	matchers []readingMatcher
	exempts  exemptions // of its `not`
}

// A readingMatcher is a Caddy matcher with the way in which it uses the path, which
// determines the readings that it is evaluated for.
type readingMatcher struct {
	caddyhttp.RequestMatcherWithError
	use     pathUse
	exempts bool // it is a `not`
}

// A pathUse is how a matcher uses the path of a request.
type pathUse int

const (
	usesNoPath     pathUse = iota // not at all, or in a way that other readings would distort: it is evaluated once
	exemptsPaths                  // it exempts paths, by `not`
	usesPathRules                 // by the rules of Caddy's `path`, which ignores case
	usesOwnRules                  // with rules of its own
	usesPathRegexp                // with a regular expression that selects and does not exempt
)

// hasOwnRules reports whether a matcher may distinguish spellings of a path that Caddy's
// `path` treats alike, such as case and a trailing slash.
func (u pathUse) hasOwnRules() bool { return u == usesOwnRules || u == usesPathRegexp }

// pathless are Caddy's matchers that do not use the path.
var pathless = map[string]bool{
	"host": true, "method": true, "header": true, "header_regexp": true, "query": true,
	"protocol": true, "tls": true, "remote_ip": true, "client_ip": true,
}

// pathUseOf returns how a matcher uses the path, by its name and, for `not`, by its
// inner matchers. It also records in m whether a matcher uses queries, hosts or
// regular expressions, which need additional checks.
func (m *Matcher) pathUseOf(name string, raw json.RawMessage) pathUse {
	// Queries and hosts are recorded within `not`, too, since a client can also forge
	// an exemption.
	header := namesHost(name, raw)
	m.hostHeader = m.hostHeader || header
	m.queries, m.hosts = m.queries || name == "query", m.hosts || name == "host" || header
	switch {
	case pathless[name]:
		return usesNoPath
	case name == "path":
		return usesPathRules
	case name == "path_regexp":
		m.regexps = true
		return usesPathRegexp
	case name == "expression" && isOfRequest(raw):
		return usesOwnRules
	case name != "not":
		m.opaque = true
		if name == "file" { // for other spellings it would look for other files
			return usesNoPath
		}
		return usesOwnRules
	}
	// A `not` has matcher sets itself, whose kinds decide.
	use := usesNoPath
	for _, set := range setsWithin(raw) {
		for name, raw := range set {
			if m.pathUseOf(name, raw) != usesNoPath {
				use = exemptsPaths
			}
		}
	}
	return use
}

// Load loads the matcher sets of a guard. It widens their patterns before Caddy compiles
// them. An error begins with match, the name of the field in the configuration.
func (m *Matcher) Load(ctx caddy.Context, raw caddyhttp.RawMatcherSets) error {
	var wide struct {
		Sets caddyhttp.RawMatcherSets `caddy:"namespace=http.matchers"`
	}
	for _, set := range raw {
		if err := Check(set); err != nil {
			return fmt.Errorf("match: %w", err)
		}
		// Only the outer sets are widened: a wider exemption would guard less.
		wider, err := widened(set)
		if err != nil {
			return err
		}
		wide.Sets = append(wide.Sets, wider)
	}
	loaded, err := ctx.LoadModule(&wide, "Sets")
	if err != nil {
		return fmt.Errorf("match: %w", err)
	}
	if err := m.loaded.FromInterface(loaded); err != nil {
		return err
	}
	for i, modules := range loaded.([]map[string]any) {
		set := matcherSet{exempts: exemptions{headers: guard.ReservedHeaders{}}}
		set.exempts.add(raw[i]["not"])
		for name, module := range modules {
			var one caddyhttp.MatcherSets
			// FromInterface takes a whole set; with one matcher at a time its name is
			// known.
			if err := one.FromInterface([]map[string]any{{name: module}}); err != nil {
				return err
			}
			set.matchers = append(set.matchers, readingMatcher{
				RequestMatcherWithError: one[0], use: m.pathUseOf(name, raw[i][name]), exempts: name == "not",
			})
		}
		m.sets = append(m.sets, set)
	}
	return nil
}

// Sets returns the matcher sets as Caddy has loaded them, with their wider patterns: none
// for a guard without matchers. The metadata of a site are derived from them. They must not
// be changed.
func (m *Matcher) Sets() caddyhttp.MatcherSets { return m.loaded }

// Selects reports whether the guard has matchers. Without any it guards every request.
func (m *Matcher) Selects() bool { return len(m.sets) > 0 }

// widened returns a matcher set whose path patterns also match their other spellings:
// decoded, with single slashes, and with and without a trailing slash, so that /v2/*
// also guards /v2. A regular expression for the path ignores case, as path patterns
// do. The wider set can only guard more, except within `not`, which is not changed.
func widened(set caddy.ModuleMap) (caddy.ModuleMap, error) {
	wide := maps.Clone(set)
	wideners := map[string]func(json.RawMessage) (any, error){"path": widerPatterns, "path_regexp": widerRegexp}
	for name, widen := range wideners {
		raw, ok := set[name]
		if !ok {
			continue
		}
		wider, err := widen(raw)
		if err != nil {
			return nil, fmt.Errorf("match: %s: %w", name, err)
		}
		if wide[name], err = json.Marshal(wider); err != nil {
			return nil, err
		}
	}
	return wide, nil
}

// widerPatterns adds the other spellings of each pattern of a path matcher.
func widerPatterns(raw json.RawMessage) (any, error) {
	var patterns caddyhttp.MatchPath
	err := json.Unmarshal(raw, &patterns)
	all := slices.Clone(patterns)
	for _, p := range patterns {
		for _, other := range []string{decodedPattern(p), otherEnding(p), otherEnding(decodedPattern(p))} {
			if !slices.Contains(all, other) {
				all = append(all, other)
			}
		}
	}
	return all, err
}

// widerRegexp makes a regular expression for the path ignore case.
func widerRegexp(raw json.RawMessage) (any, error) {
	var pattern caddyhttp.MatchRegexp
	err := json.Unmarshal(raw, &pattern)
	// A flag at the beginning applies to the whole pattern, even if that has its own
	// flags.
	pattern.Pattern = "(?i)" + pattern.Pattern
	return pattern, err
}

// repeatedSlashes finds repeated slashes, which many servers merge.
var repeatedSlashes = regexp.MustCompile(`//+`)

// decodedPattern returns a pattern in the spelling of guard.Readings:
// percent-decoded, with single slashes. A pattern with a placeholder is not decoded,
// since its value is not known yet.
func decodedPattern(p string) string {
	if decoded, err := url.PathUnescape(strings.ReplaceAll(p, "%*", "*")); err == nil && !strings.Contains(p, "{") {
		p = decoded
	}
	return repeatedSlashes.ReplaceAllString(p, "/")
}

// otherEnding returns the same pattern with the other ending: /a for /a/*, /a/ for
// /a, and /a for /a/. Other patterns that end in a wildcard have no other ending.
func otherEnding(p string) string {
	if root, below := strings.CutSuffix(p, "/*"); below && root != "" {
		return root
	}
	if p == "/" || strings.HasSuffix(p, "*") {
		return p
	}
	if without, has := strings.CutSuffix(p, "/"); has {
		return without
	}
	return p + "/"
}
