package caddymodule

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
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
