package caddymodule

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
)

// A guardMatcher decides which requests a guard is for. Servers read a path in
// different ways: decoded once or twice, with or without double slashes, with or
// without regard to case. So each matcher is asked about every such reading. A
// path is guarded if any reading of it matches, and exempt, by `not`, only if
// every reading is exempt: however the backend reads the path, the guard
// protects it.
type guardMatcher struct {
	sets []matcherSet // one set must match, with all its matchers; none: every request

	opaque     bool // some matcher looks at what was made of a path before, or by rules that are not known here
	regexps    bool // some matcher is a regular expression over the path
	queries    bool // some matcher looks at the query
	hosts      bool // some matcher looks at the host
	hostHeader bool // some matcher of headers looks at the host, as at any text

}

// A matcherSet is matchers that must all match.
type matcherSet struct {
	matchers []readingMatcher
	exempts  *exemptions // what its `not` exempts by; nil: it has none
}

// A readingMatcher is a Caddy matcher with the way in which it uses the path, on
// which it depends what readings it is asked about.
type readingMatcher struct {
	caddyhttp.RequestMatcherWithError
	use     pathUse
	exempts bool // it is `not`
}

// A pathUse is how a matcher uses the path of a request.
type pathUse int

const (
	usesNoPath     pathUse = iota // not at all, or in a way that other readings would falsify: it is asked once
	exemptsPaths                  // it exempts paths, by `not`
	usesPathRules                 // by the rules of Caddy's `path`, which ignores case
	usesOwnRules                  // by rules of its own
	usesPathRegexp                // by a regular expression that selects and does not exempt
)

// pathless are Caddy's matchers that do not look at the path.
var pathless = map[string]bool{
	"host": true, "method": true, "header": true, "header_regexp": true, "query": true,
	"protocol": true, "tls": true, "remote_ip": true, "client_ip": true,
}

// pathUseOf returns how a matcher uses the path, by its name and, for `not`, by the
// matchers within. It also notes in m whether any matcher looks at queries,
// hosts or regular expressions, because those need checks of their own.
func (m *guardMatcher) pathUseOf(name string, raw json.RawMessage) (pathUse, error) {
	// Queries and hosts are noted also within `not`, since an exemption can be
	// forged as well.
	header := namesHost(name, raw)
	m.hostHeader = m.hostHeader || header
	m.queries, m.hosts = m.queries || name == "query", m.hosts || name == "host" || header
	switch {
	case pathless[name]:
		return usesNoPath, nil
	case name == "path":
		return usesPathRules, nil
	case name == "path_regexp":
		m.regexps = true
		return usesPathRegexp, nil
	case name == "expression" && isOfRequest(raw):
		return usesOwnRules, nil
	case name != "not":
		m.opaque = true
		if name == "file" { // asked about other spellings it would look for other files
			return usesNoPath, nil
		}
		return usesOwnRules, nil
	}
	// A `not` has matcher sets of its own, whose kinds decide.
	var sets caddyhttp.RawMatcherSets
	if err := json.Unmarshal(raw, &sets); err != nil {
		return 0, fmt.Errorf("match: not: %w", err)
	}
	use := usesNoPath
	for _, set := range sets {
		for name, raw := range set {
			inner, err := m.pathUseOf(name, raw)
			if err != nil {
				return 0, err
			}
			if inner != usesNoPath {
				use = exemptsPaths
			}
		}
	}
	return use, nil
}

// load makes the matchers of g.MatcherSetsRaw. The patterns are widened before
// Caddy compiles them.
func (m *guardMatcher) load(ctx caddy.Context, g *Guard) error {
	uses := make([]map[string]pathUse, len(g.MatcherSetsRaw))
	exempts := make([]*exemptions, len(g.MatcherSetsRaw))
	for i, set := range g.MatcherSetsRaw {
		if err := checkMatcher(set); err != nil {
			return fmt.Errorf("match: %w", err)
		}
		uses[i], exempts[i] = map[string]pathUse{}, exemptionsOf(set)
		for name, raw := range set {
			use, err := m.pathUseOf(name, raw)
			if err != nil {
				return err
			}
			uses[i][name] = use
		}
		// Only the outer sets are widened: a wider exemption would guard less.
		var err error
		if g.MatcherSetsRaw[i], err = widened(set); err != nil {
			return err
		}
	}
	loaded, err := ctx.LoadModule(g, "MatcherSetsRaw")
	if err != nil {
		return fmt.Errorf("match: %w", err)
	}
	for i, set := range loaded.([]map[string]any) {
		var list matcherSet
		for name, module := range set {
			var one caddyhttp.MatcherSets
			// FromInterface takes a whole set; one matcher at a time keeps its
			// name known.
			if err := one.FromInterface([]map[string]any{{name: module}}); err != nil {
				return err
			}
			list.matchers = append(list.matchers,
				readingMatcher{RequestMatcherWithError: one[0], use: uses[i][name], exempts: name == "not"})
		}
		list.exempts = exempts[i]
		m.sets = append(m.sets, list)
	}
	return nil
}

// widened returns a matcher set whose path patterns also match their other
// spellings: decoded, with single slashes, and with and without a slash at the
// end, so that /v2/* guards /v2, too. A regular expression over the path ignores
// case, as path patterns do. The wider set can only guard more, except within
// `not`, which is left as it is.
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

// widerRegexp makes a regular expression over the path ignore case.
func widerRegexp(raw json.RawMessage) (any, error) {
	var pattern caddyhttp.MatchRegexp
	err := json.Unmarshal(raw, &pattern)
	// A flag in the pattern applies to all of it, also where it has flags of its
	// own.
	pattern.Pattern = "(?i)" + pattern.Pattern
	return pattern, err
}

// doubled finds repeated slashes, which many servers merge.
var doubled = regexp.MustCompile(`//+`)

// decodedPattern is a pattern in the spelling of guard.Readings: percent-decoded,
// with single slashes. A pattern with a placeholder is not decoded, since its
// value is not known yet.
func decodedPattern(p string) string {
	if decoded, err := url.PathUnescape(strings.ReplaceAll(p, "%*", "*")); err == nil && !strings.Contains(p, "{") {
		p = decoded
	}
	return doubled.ReplaceAllString(p, "/")
}

// otherEnding is the same pattern with the other ending: /a/* becomes /a, /a
// becomes /a/, and /a/ becomes /a. A pattern that ends in a wildcard otherwise
// has none.
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
