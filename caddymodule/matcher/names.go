package matcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// The names that the matchers of a guard use, read from their JSON.

// Check refuses a matcher set that can never match as it is written: the guard
// would silently guard nothing, or an exemption exempt nothing.
func Check(set caddy.ModuleMap) error {
	if raw, ok := set["path"]; ok {
		var patterns caddyhttp.MatchPath
		if err := json.Unmarshal(raw, &patterns); err != nil {
			return fmt.Errorf("path: %w", err)
		}
		for _, p := range patterns {
			switch {
			case severalPatterns.MatchString(p):
				return fmt.Errorf("path %q: want one pattern in each argument", p)
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
		if err := Check(inner); err != nil {
			return fmt.Errorf("not: %w", err)
		}
	}
	return nil
}

// severalPatterns finds several patterns in one pair of quotes.
var severalPatterns = regexp.MustCompile(`\s[/*{]`)

// memberNames returns the member names of a matcher that is a JSON object, such as
// the fields of `header`.
func memberNames(raw json.RawMessage) []string {
	var members map[string]json.RawMessage
	if json.Unmarshal(raw, &members) != nil {
		return nil // the matcher itself reports the error
	}
	return slices.Collect(maps.Keys(members))
}

// exemptions are the parts of a request by which a `not` exempts it.
type exemptions struct {
	head    bool // the method HEAD
	queries []string
	headers guard.ReservedHeaders
}

// add adds the exemptions of a `not`, with those of a `not` in it.
func (e *exemptions) add(not json.RawMessage) {
	for _, set := range setsWithin(not) {
		var methods caddyhttp.MatchMethod
		if json.Unmarshal(set["method"], &methods) == nil && slices.Contains(methods, http.MethodHead) {
			e.head = true
		}
		e.queries = append(e.queries, memberNames(set["query"])...)
		for _, name := range append(memberNames(set["header"]), memberNames(set["header_regexp"])...) {
			e.headers.Add(name)
		}
		e.add(set["not"])
	}
}

// setsWithin returns the matcher sets of a `not`, or nil if there is none. Check has
// reported an error in it.
func setsWithin(not json.RawMessage) (sets caddyhttp.RawMatcherSets) {
	if json.Unmarshal(not, &sets) != nil {
		return nil
	}
	return sets
}

// isRepeated reports whether a request has several values for a part that exempts it:
// the matcher accepts any of them, and the backend may use another. Then the request
// is not exempt.
func (e *exemptions) isRepeated(r *http.Request) bool {
	if len(e.queries) > 0 {
		for name, values := range r.URL.Query() {
			plain, _, isList := strings.Cut(name, "[") // PHP and others read a[]=1 as a
			if slices.Contains(e.queries, plain) && (isList || len(values) > 1) {
				return true
			}
		}
	}
	if len(e.headers) == 0 {
		return false
	}
	seen := map[string]bool{}
	for name, values := range r.Header {
		// X_Pub and X-Pub are one header for many servers.
		one := strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if e.headers.Has(name) && (len(values) > 1 || seen[one]) {
			return true
		}
		seen[one] = true
	}
	return false
}

// namesHost reports whether a matcher of headers uses Host, which Caddy permits.
func namesHost(name string, raw json.RawMessage) bool {
	return (name == "header" || name == "header_regexp") &&
		slices.ContainsFunc(memberNames(raw), func(field string) bool { return strings.EqualFold(field, "Host") })
}

// isOfRequest reports whether an expression uses nothing but the request, so that it
// can be evaluated for each reading of a path. Variables, captures of other matchers,
// files and the path before a rewrite depend on a single reading.
func isOfRequest(raw json.RawMessage) bool {
	var text string
	var object struct {
		Expr string `json:"expr"`
	}
	if json.Unmarshal(raw, &text) != nil {
		if json.Unmarshal(raw, &object) != nil {
			return false
		}
		text = object.Expr
	}
	for _, other := range []string{"vars", "file(", "ph(", "caddyPlaceholder", "orig_uri"} {
		if strings.Contains(text, other) {
			return false
		}
	}
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "{")
		if !found {
			return true
		}
		if !strings.HasPrefix(after, "http.request.") {
			return false
		}
		rest = after
	}
}
