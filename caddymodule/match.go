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

// A guardMatcher says which requests a guard is for. Each of its matchers is
// asked about every reading of the request's path, so a path is guarded if any
// reading of it matches, and exempt, by `not`, only if every reading is exempt.
type guardMatcher struct {
	sets [][]readingMatcher // any of them, all that is in it; none: every request

	opaque  bool // some matcher looks at paths, or at what was made of one, in a way of its own
	regexps bool // some matcher is a regular expression over the path
	queries bool // some matcher looks at the query
	hosts   bool // some matcher looks at the host
}

// A readingMatcher is a matcher with how it looks at a path.
type readingMatcher struct {
	caddyhttp.RequestMatcherWithError
	looks pathLook
}

type pathLook int

const (
	looksNowhere pathLook = iota // at no path, or one that is not to be asked about others: it is asked once
	looksExempt                  // it is an exemption, by `not`
	looksPlainly                 // by the rules of `path`, which know no case
	looksItself                  // in a way of its own
	looksRegexp                  // the same, and for something: it is no exemption
)

// pathless are Caddy's matchers that look at no path.
var pathless = map[string]bool{
	"host": true, "method": true, "header": true, "header_regexp": true, "query": true,
	"protocol": true, "tls": true, "remote_ip": true, "client_ip": true,
}

// lookOf tells how a matcher looks at paths, by its name and what it holds, and
// notes what else there is to be careful of.
func (m *guardMatcher) lookOf(name string, raw json.RawMessage) (pathLook, error) {
	m.queries, m.hosts = m.queries || name == "query", m.hosts || name == "host"
	switch {
	case pathless[name]:
		return looksNowhere, nil
	case name == "path":
		return looksPlainly, nil
	case name == "path_regexp":
		m.regexps = true
		return looksRegexp, nil
	case name != "not":
		m.opaque = true
		if name == "file" { // files differ in case where file systems do
			return looksNowhere, nil
		}
		return looksItself, nil
	}
	var sets caddyhttp.RawMatcherSets
	if err := json.Unmarshal(raw, &sets); err != nil {
		return 0, fmt.Errorf("match: not: %w", err)
	}
	look := looksNowhere
	for _, set := range sets {
		for name, raw := range set {
			inner, err := m.lookOf(name, raw)
			if err != nil {
				return 0, err
			}
			if inner != looksNowhere {
				look = looksExempt
			}
		}
	}
	return look, nil
}

// load makes the matchers of g.MatcherSetsRaw.
func (m *guardMatcher) load(ctx caddy.Context, g *Guard) error {
	looks := make([]map[string]pathLook, len(g.MatcherSetsRaw))
	for i, set := range g.MatcherSetsRaw {
		looks[i] = map[string]pathLook{}
		for name, raw := range set {
			look, err := m.lookOf(name, raw)
			if err != nil {
				return err
			}
			looks[i][name] = look
		}
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
		var list []readingMatcher
		for name, module := range set {
			var one caddyhttp.MatcherSets
			if err := one.FromInterface([]map[string]any{{name: module}}); err != nil {
				return err
			}
			list = append(list, readingMatcher{one[0], looks[i][name]})
		}
		m.sets = append(m.sets, list)
	}
	return nil
}

// widened adds to the path patterns of a set what they mean decoded, with single
// slashes, and with and without a slash at the end: /v2/* guards /v2 too. A
// regular expression over the path ignores case, as path patterns do.
func widened(set caddy.ModuleMap) (caddy.ModuleMap, error) {
	wide := maps.Clone(set)
	for name, widen := range map[string]func(json.RawMessage) (any, error){"path": widerPatterns, "path_regexp": widerRegexp} {
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

func widerPatterns(raw json.RawMessage) (any, error) {
	var patterns caddyhttp.MatchPath
	err := json.Unmarshal(raw, &patterns)
	all := slices.Clone(patterns)
	for _, p := range patterns {
		for _, other := range []string{plainPattern(p), otherRoot(p), otherRoot(plainPattern(p))} {
			if !slices.Contains(all, other) {
				all = append(all, other)
			}
		}
	}
	return all, err
}

func widerRegexp(raw json.RawMessage) (any, error) {
	var pattern caddyhttp.MatchRegexp
	err := json.Unmarshal(raw, &pattern)
	pattern.Pattern = "(?i)" + pattern.Pattern
	return pattern, err
}

var doubled = regexp.MustCompile(`//+`)

// plainPattern is a pattern as readings of paths are spelled.
func plainPattern(p string) string {
	if plain, err := url.PathUnescape(strings.ReplaceAll(p, "%*", "*")); err == nil && !strings.Contains(p, "{") {
		p = plain
	}
	return doubled.ReplaceAllString(p, "/")
}

// otherRoot is a pattern for the same resource with another end.
func otherRoot(p string) string {
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
