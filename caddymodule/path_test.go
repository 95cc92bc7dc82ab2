package caddymodule

import (
	"context"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// protocol 31
func TestDisguisedPathsAreSeen(t *testing.T) {
	m := DisguisedPath{Patterns: caddyhttp.MatchPath{"/v2/*"}}
	for path, want := range map[string]bool{
		"/v2/a": true, "/V2//a": true, "/v%32/a": true, "/v3/a": false, "/v3;x/a": false, "/v3/a;b=/v2/c": false, "/a/b.c": false, "/a/...": false, "/100%/a": false,
		"/v2;x/a": true, "/v2;/a": true, "/;/v2/a": true, "/V2;x/a": true, `/v2\a`: true, `\v2\a`: true, "//v2;x//a": true,
		"/public/..;/v2/a": true, "/public/.;x/a": true, `/public\..\v2`: true, "/public/%2e%2e/v2": true, "/public/%2e%2e;/x": true, `/public/..%5cv2`: true, "/..;": true,
		"/v2//../secret": true, "/v3/../a": true, "/./a": true, "/public/%2e%2e/v2/%zz": true, "/v%2532/a": false, "/v%2532;/a": false,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = &url.URL{Path: path}
		r = r.WithContext(context.WithValue(t.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
		if got, err := m.MatchWithError(r); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", path, got, err, want)
		}
	}
}
