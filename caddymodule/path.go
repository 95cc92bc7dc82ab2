package caddymodule

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// DisguisedPath matches requests whose path is not what it seems, because
// servers disagree on what a path means: to some, /v2;x/a and /v2\a are /v2/a,
// and /public/..;/v2 is /v2. Caddy's own path matcher sees to case, doubled
// slashes, dots and percent-encoding. The directive device_auth adds this one,
// so that no backend finds behind its guard what the guard did not see.
type DisguisedPath struct {
	// Path patterns, as of Caddy's path matcher. A request matches when its
	// path does once it has been read in the other way; and whatever the
	// patterns, when a dot segment comes to light then.
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
	if hidesDots(r.URL.Path) {
		return true, nil
	}
	plain := undisguised(r.URL.Path)
	if plain == r.URL.Path {
		return false, nil
	}
	seen := *r
	seen.URL = &url.URL{Path: plain}
	return m.Patterns.MatchWithError(&seen)
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

// hidesDots reports whether a dot segment comes to light in a path read in the
// other way, or percent-decoded once more. No honest request has one.
func hidesDots(p string) bool {
	if !strings.ContainsAny(p, `;\%`) {
		return false
	}
	decoded, err := url.PathUnescape(p)
	if err != nil {
		decoded = p
	}
	for _, q := range []string{undisguised(p), undisguised(decoded)} {
		if q != p && dotted(q) {
			return true
		}
	}
	return false
}

func dotted(p string) bool {
	for s := range strings.SplitSeq(p, "/") {
		if s == "." || s == ".." {
			return true
		}
	}
	return false
}

var (
	_ caddyhttp.RequestMatcherWithError = (*DisguisedPath)(nil)
	_ caddy.Provisioner                 = (*DisguisedPath)(nil)
)
