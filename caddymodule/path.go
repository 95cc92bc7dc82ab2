package caddymodule

import (
	"encoding/hex"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// DisguisedPath matches requests whose path is not what it seems, because
// servers disagree on what a path means: to some, /v2;x/a and /v2\a are /v2/a,
// /public/..;/v2 is /v2, and /v2//../a is. Caddy's own path matcher sees to
// case, doubled slashes, dots and percent-encoding, in one way. The directive
// device_auth adds this one, so that no backend finds behind its guard what
// the guard did not see.
type DisguisedPath struct {
	// Path patterns, as of Caddy's path matcher. A request matches when its
	// path does in some reading; and whatever the patterns, when some reading
	// has a dot segment.
	Patterns caddyhttp.MatchPath `json:"patterns,omitempty"`
}

// CaddyModule returns the module's registration.
func (DisguisedPath) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.matchers.device_auth_path", New: func() caddy.Module { return new(DisguisedPath) }}
}

// Provision prepares the patterns.
func (m *DisguisedPath) Provision(ctx caddy.Context) error { return m.Patterns.Provision(ctx) }

// MatchWithError implements caddyhttp.RequestMatcherWithError.
func (m DisguisedPath) MatchWithError(r *http.Request) (bool, error) {
	for _, reading := range readings(r.URL.Path) {
		if dotted(reading) {
			return true, nil
		}
		seen := *r
		seen.URL = &url.URL{Path: reading}
		if matches, err := m.Patterns.MatchWithError(&seen); matches || err != nil {
			return matches, err
		}
	}
	return false, nil
}

// readings are what a path may mean to some server: as it is, with backslashes
// for slashes and without parameters, and the same percent-decoded once more.
func readings(p string) []string {
	list := []string{p}
	if strings.ContainsAny(p, `;\%`) {
		list = append(list, undisguised(p), undisguised(decoded(p)))
	}
	return list
}

// dotted reports whether a path has a dot segment. Servers disagree on what is
// left of one, beside an empty segment above all; honest clients resolve it
// before they send it (RFC 3986 §5.2.4).
func dotted(p string) bool {
	if !strings.Contains(p, ".") {
		return false
	}
	for s := range strings.SplitSeq(p, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

// undisguised reads backslashes as slashes, and cuts path parameters off.
func undisguised(p string) string {
	if !strings.ContainsAny(p, `;\`) {
		return p
	}
	segments := strings.Split(strings.ReplaceAll(p, `\`, "/"), "/")
	for i, s := range segments {
		segments[i], _, _ = strings.Cut(s, ";")
	}
	return strings.Join(segments, "/")
}

var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// decoded decodes what is percent-encoded, and leaves a stray % as it is.
func decoded(p string) string {
	return escape.ReplaceAllStringFunc(p, func(code string) string {
		c, _ := hex.DecodeString(code[1:]) // two hexadecimal digits: cannot fail
		return string(c)
	})
}

// ambiguous reports whether a path has a dot segment in some reading.
func ambiguous(p string) bool { return slices.ContainsFunc(readings(p), dotted) }

var (
	_ caddyhttp.RequestMatcherWithError = (*DisguisedPath)(nil)
	_ caddy.Provisioner                 = (*DisguisedPath)(nil)
)
