package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/httpapi"
)

// judged asks a matcher about a path as it came on the wire.
func judged(t *testing.T, m *guardMatcher, path string) (bool, error) {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	var err error
	if r.URL, err = url.ParseRequestURI(path); err != nil {
		t.Fatal(err)
	}
	r = r.WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
	caddyhttp.NewTestReplacer(r)
	return m.judge(r)
}

// loaded makes a guard's matcher of its JSON.
func loaded(t *testing.T, match string) *guardMatcher {
	t.Helper()
	g, m := new(Guard), new(guardMatcher)
	if err := json.Unmarshal([]byte(match), &g.MatcherSetsRaw); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := m.load(ctx, g); err != nil {
		t.Fatal(err)
	}
	return m
}

// protocol 31
func TestPathIsGuardedIfAnyReadingMatches(t *testing.T) {
	m := loaded(t, `[{"path": ["/v2/*"]}]`)
	for path, want := range map[string]bool{
		"/v2/a": true, "/V2//a": true, "/v%32/a": true, "/v2": true, "/v2%2Fa": true, "/v%2532/a": true, "/v%252532/a": true,
		"/v2;x/a": true, "/v2;/a": true, "/;/v2/a": true, "/V2;x/a": true, `/v2\a`: true, `/\v2\a`: true, "//v2;x//a": true, "/v2%3B/a": true,
		"//host/v2/a": true, "///host/v2/a": true, "/%2Fhost/v2/a": true, `/\host/v2/a`: true, "//host:80/v2": true,
		"/index.php/v2/a": true, "/x/run.CGI/v2/a": true, "/v2%3Fx": true, "/v2%23x": true, "/v2%00x": true,
		"/v2./a": true, "/v2%20/a": true, "/v2.%20.": true, "/v2::$INDEX_ALLOCATION/a": true, "/x./v3": false,
		"/v3/a": false, "/v3;x/a": false, "/v3/a;b=/v2/c": false, "/a/b.c": false, "/a/...": false, "/100%25/a": false, "/x.css/v2": false, "/v2x": false,
	} {
		if got, err := judged(t, m, path); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", path, got, err, want)
		}
	}
	for _, path := range []string{
		"/public/..;/v2/a", "/public/.;x/a", `/public\..\v2`, "/public/%2e%2e/v2", "/public/%2e%2e;/x", `/public/..%5cv2`, "/..;",
		"/v2//../secret", "/v3/../a", "/./a", "/public/%2e%2e/v2/%25zz", "/x/%252e%252e/v2", "/x/..%00/v2",
	} {
		if _, err := judged(t, m, path); !errors.Is(err, httpapi.ErrPath) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// protocol 31
func TestPathIsExemptOnlyIfEveryReadingIs(t *testing.T) {
	m := loaded(t, `[{"not": [{"path": ["*.css", "/open/*", "/status"]}]}]`)
	for path, guarded := range map[string]bool{
		"/a.css": false, "/a.CSS": false, "/a.css/": true, "/open/x": false, "/open/x/": false, "/open/für": false, "/status": false, "/status/": true,
		"/v2/secret;.css": true, "/v2/secret%3F.css": true, "/v2/secret%23.css": true, "/v2/secret%00.css": true, "/v2/secret.php/.css": true, "/v2/secret%253F.css": true,
		"//open/v2/secret": true, "/open%2Fx": true, "/v2/secret": true, "/index.php/open/x": true,
	} {
		if got, err := judged(t, m, path); err != nil || got != guarded {
			t.Errorf("%s: guarded %v, %v, want %v", path, got, err, guarded)
		}
	}
}

// protocol 31
func TestMatcherOfItsOwnSeesEveryPlainReading(t *testing.T) {
	for match, paths := range map[string]map[string]bool{
		`[{"path_regexp": {"pattern": "^/v2/"}}]`:                     {"/v2/a": true, "/V2/a": true, "/v2": true, "/v2/": true, "/v3/a": false, "/index.php/v2/a": true},
		`[{"expression": "{http.request.uri.path} == '/v2/secret'"}]`: {"/v2/secret": true, "/v2/Secret/": true, "/V2/secret": true, "/v2/other": false},
		`[{"expression": "path('/v2/*') && !path('*.css')"}]`:         {"/v2/a": true, "/v2/a.css": false, "/v2/a.css/": true, "/v2/x.php/a.css": true},
		`[{"vars": {"{http.request.uri.path}": ["/v2/secret"]}}]`:     {"/v2/secret": true, "/v2/secret/": true, "/V2/secret": true, "/v2/secrets": false},
		`[{"method": ["POST"], "path": ["/v2/*"]}]`:                   {"/v2/a": false},
		`[{"path": ["/a%2Fb", "/c//d"]}]`:                             {"/a%2Fb": true, "/a/b": true, "/a;x/b": true, "/c//d": true, "/c/d": true, "/a": false},
	} {
		m := loaded(t, match)
		for path, want := range paths {
			if got, err := judged(t, m, path); err != nil || got != want {
				t.Errorf("%s: %s: %v, %v, want %v", match, path, got, err, want)
			}
		}
	}
	m := loaded(t, `[{"not": [{"path_regexp": {"pattern": "^/open"}}]}]`)
	for _, path := range []string{"/v2;x/a", `/v2\a`, "//v2/a", "/v2%2Fa", "/v%2532/a", "/v2%3Fa", "/v2%00"} {
		if _, err := judged(t, m, path); !errors.Is(err, httpapi.ErrSpelling) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
