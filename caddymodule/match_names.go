package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// What the matchers of a guard name, read from their JSON.

// checkMatcher refuses a set of matchers that can match nothing as it is written: the guard
// would guard nothing, or an exemption exempt nothing, without a word.
func checkMatcher(set caddy.ModuleMap) error {
	if raw, ok := set["path"]; ok {
		var patterns caddyhttp.MatchPath
		if err := json.Unmarshal(raw, &patterns); err != nil {
			return fmt.Errorf("path: %w", err)
		}
		for _, p := range patterns {
			switch {
			case strings.ContainsAny(p, " \t"):
				return fmt.Errorf("path %q: want one pattern in each argument, and a space within one as %%20", p)
			case !strings.HasPrefix(p, "/") && !strings.HasPrefix(p, "*") && !strings.HasPrefix(p, "{"):
				return fmt.Errorf("path %q: no path matches that; want a pattern that begins with / or *", p)
			}
		}
	}
	raw, ok := set["not"]
	if !ok {
		return nil
	}
	var within caddyhttp.RawMatcherSets
	if err := json.Unmarshal(raw, &within); err != nil {
		return fmt.Errorf("not: %w", err)
	}
	if len(within) == 0 {
		return errors.New("not: want a matcher")
	}
	for _, inner := range within {
		if len(inner) == 0 {
			return errors.New("not: want a matcher")
		}
		if err := checkMatcher(inner); err != nil {
			return fmt.Errorf("not: %w", err)
		}
	}
	return nil
}

// names are what a matcher names that has an object in JSON, such as the fields of `header`.
func names(raw json.RawMessage) []string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil // the matcher itself says what is wrong
	}
	return slices.Collect(maps.Keys(members))
}

// noteExemptions notes the parameters and headers by which `not` exempts. within is whether
// the set is one of a `not`.
func (m *guardMatcher) noteExemptions(set caddy.ModuleMap, within bool) {
	var inner caddyhttp.RawMatcherSets
	if json.Unmarshal(set["not"], &inner) == nil {
		for _, one := range inner {
			m.noteExemptions(one, true)
		}
	}
	if !within {
		return
	}
	if m.exemptQueries == nil {
		m.exemptQueries, m.exemptHeaders = map[string]bool{}, guard.ReservedHeaders{}
	}
	for _, name := range names(set["query"]) {
		m.exemptQueries[name] = true
	}
	for _, name := range append(names(set["header"]), names(set["header_regexp"])...) {
		m.exemptHeaders.Add(name)
	}
}

// checkRepeated refuses a request with two values of what exempts it.
func (m *guardMatcher) checkRepeated(r *http.Request, query url.Values) error {
	for name := range m.exemptQueries {
		if len(query[name]) > 1 {
			return guard.ErrRepeated
		}
	}
	if len(m.exemptHeaders) == 0 {
		return nil
	}
	seen := map[string]bool{}
	for name, values := range r.Header {
		if !m.exemptHeaders.Has(name) {
			continue
		}
		// X_Pub and X-Pub are one header for many servers.
		one := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if len(values) > 1 || seen[one] {
			return guard.ErrRepeated
		}
		seen[one] = true
	}
	return nil
}

// namesHost reports whether a matcher of headers looks at Host, which Caddy lets it.
func namesHost(name string, raw json.RawMessage) bool {
	return (name == "header" || name == "header_regexp") &&
		slices.ContainsFunc(names(raw), func(field string) bool { return strings.EqualFold(field, "Host") })
}

// namesHead reports whether a set names the method HEAD, also within `not`.
func namesHead(set caddy.ModuleMap) bool {
	var methods caddyhttp.MatchMethod
	if json.Unmarshal(set["method"], &methods) == nil && slices.Contains(methods, http.MethodHead) {
		return true
	}
	var within caddyhttp.RawMatcherSets
	return json.Unmarshal(set["not"], &within) == nil && slices.ContainsFunc(within, namesHead)
}
