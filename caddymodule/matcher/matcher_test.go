package matcher

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/fileserver" // the matcher file

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// judged asks a matcher about a path as it is on the wire.
func judged(t *testing.T, m *Matcher, path string) (bool, error) {
	t.Helper()
	r := httptest.NewRequest("GET", "/", nil)
	var err error
	if r.URL, err = url.ParseRequestURI(path); err != nil {
		t.Fatal(err)
	}
	r = r.WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
	caddyhttp.NewTestReplacer(r)
	return m.Judge(r)
}

// withReplacer gives a request what Caddy's server would.
func withReplacer(t *testing.T, r *http.Request) *http.Request {
	r = r.WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
	caddyhttp.NewTestReplacer(r)
	return r
}

// loaded makes a guard's matcher of its JSON.
func loaded(t *testing.T, match string) *Matcher {
	t.Helper()
	m := new(Matcher)
	var sets caddyhttp.RawMatcherSets
	if err := json.Unmarshal([]byte(match), &sets); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	if err := m.Load(ctx, sets); err != nil {
		t.Fatal(err)
	}
	return m
}

// protocol 31
func TestPathIsGuardedIfAnyReadingMatches(t *testing.T) {
	m := loaded(t, `[{"path": ["/v2/*"]}]`)
	for path, want := range map[string]bool{
		"/v2/a": true, "/V2//a": true, "/v%32/a": true, "/v2": true, "/v2%2Fa": true, "/v%2532/a": true,
		"/v%252532/a": true, "/v2;x/a": true, "/v2;/a": true, "/;/v2/a": true, "/V2;x/a": true,
		`/v2\a`: true, `/\v2\a`: true, "//v2;x//a": true, "/v2%3B/a": true,
		"//host/v2/a": true, "///host/v2/a": true, "/%2Fhost/v2/a": true, `/\host/v2/a`: true, "//host:80/v2": true,
		"/index.php/v2/a": true, "/x/run.CGI/v2/a": true, "/v2%3Fx": true, "/v2%23x": true, "/shop/index.php/v2": true,
		"/v2/%C5%BFecret": true, "/%EF%BD%962/a": true, "/%EF%BC%8Fv2/a": true,
		"/v2./a": true, "/v2%20/a": true, "/v2.%20.": true, "/v2::$INDEX_ALLOCATION/a": true, "/x./v3": false,
		"/v3/a": false, "/v3;x/a": false, "/v3/a;b=/v2/c": false, "/a/b.c": false, "/a/...": false,
		"/100%25/a": false, "/x.css/v2": false, "/v2x": false,
	} {
		if got, err := judged(t, m, path); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", path, got, err, want)
		}
	}
	for _, path := range []string{
		"/public/..;/v2/a", "/public/.;x/a", `/public\..\v2`, "/public/%2e%2e/v2", "/public/%2e%2e;/x",
		`/public/..%5cv2`, "/..;", "/v2//../secret", "/v3/../a", "/./a", "/public/%2e%2e/v2/%25zz",
		"/x/%252e%252e/v2", "/x/..%00/v2", "/v2%00x", "/v%092/a", "/%0a/x/v2", "/v2%250d/a", "/x/..%20/v2",
	} {
		if _, err := judged(t, m, path); !errors.Is(err, guard.ErrPath) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// protocol 31
func TestPathIsExemptOnlyIfEveryReadingIs(t *testing.T) {
	m := loaded(t, `[{"not": [{"path": ["*.css", "/open/*", "/status"]}]}]`)
	for path, guarded := range map[string]bool{
		"/a.css": false, "/a.CSS": false, "/a.css/": true, "/open/x": false, "/open/x/": false, "/open/für": false,
		"/status": false, "/status/": true, "/v2/secret;.css": true, "/v2/secret%3F.css": true,
		"/v2/secret%23.css": true, "/v2/secret.php/.css": true, "/v2/secret%253F.css": true,
		"//open/v2/secret": true, "/open%2Fx": true, "/v2/secret": true, "/index.php/open/x": true,
	} {
		if got, err := judged(t, m, path); err != nil || got != guarded {
			t.Errorf("%s: guarded %v, %v, want %v", path, got, err, guarded)
		}
	}
}

// protocol 31
func TestMatcherWithOwnRulesSeesEveryReading(t *testing.T) {
	for match, paths := range map[string]map[string]bool{
		`[{"path_regexp": {"pattern": "^/v2/"}}]`: {
			"/v2/a": true, "/V2/a": true, "/v2": true, "/v2/": true, "/v3/a": false, "/index.php/v2/a": true,
		},
		`[{"expression": "{http.request.uri.path} == '/v2/secret'"}]`: {
			"/v2/secret": true, "/v2/Secret/": true, "/V2/secret": true, "/v2/other": false,
		},
		`[{"expression": "path('/v2/*') && !path('*.css')"}]`: {
			"/v2/a": true, "/v2/a.css": false, "/v2/a.css/": true,
		},
		`[{"path_regexp": {"pattern": "^/API/"}}]`: {"/api/a": true, "/v2": false},
		`[{"not": [{"path_regexp": {"pattern": "^/Public/"}}]}]`: {
			"/Public/a": false, "/Public/": false, "/other": true,
		},
		`[{"path": ["/shop/api/*"]}]`: {"/shop/index.php/api/x": true, "/shop/index.php/other": false},
		`[{"vars": {"{http.request.uri.path}": ["/v2/secret"]}}]`: {
			"/v2/secret": true, "/v2/secret/": true, "/V2/secret": true, "/v2/secrets": false,
		},
		`[{"method": ["POST"], "path": ["/v2/*"]}]`: {"/v2/a": false},
		`[{"path": ["/a%2Fb", "/c//d"]}]`: {
			"/a%2Fb": true, "/a/b": true, "/a;x/b": true, "/c//d": true, "/c/d": true, "/a": false,
		},
	} {
		m := loaded(t, match)
		for path, want := range paths {
			if got, err := judged(t, m, path); err != nil || got != want {
				t.Errorf("%s: %s: %v, %v, want %v", match, path, got, err, want)
			}
		}
	}
	m := loaded(t, `[{"not": [{"path_regexp": {"pattern": "^/open"}}]}]`)
	for _, path := range []string{"/v2;x/a", `/v2\a`, "//v2/a", "/v2%2Fa", "/v%2532/a", "/v2%3Fa"} {
		if _, err := judged(t, m, path); !errors.Is(err, guard.ErrSpelling) {
			t.Errorf("%s: %v", path, err)
		}
	}
	// A variable that was set before the guard is derived from only one reading of
	// the path.
	m = loaded(t, `[{"vars": {"guarded": ["yes"]}}]`)
	for _, path := range []string{"/index.php/v2/a", "/v2./a", "/v2%20/a"} {
		if _, err := judged(t, m, path); !errors.Is(err, guard.ErrSpelling) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// protocol 31
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	all := loaded(t, `[{"method": ["POST"], "query": {"action": ["admin"]}, "host": ["api.example.com"]}]`)
	for _, test := range []struct {
		method, host, target string
		want                 error
	}{
		{"POST", "api.example.com", "/x?action=other", nil},
		{"post", "api.example.com", "/x", guard.ErrMethod},
		{"GET", "api.example.com", "/x?action=admin;", guard.ErrQuery},
		{"GET", "api.example.com", "/x?action=admin&y=%zz", guard.ErrQuery},
		{"GET", "api.example.com", "/x?%20action=admin", guard.ErrQuery},
		{"GET", "api.example.com", "/x?action%00=admin", guard.ErrQuery},
		{"GET", "api.example.com", "/x?action=admin%00", guard.ErrQuery},
		{"GET", "api.example.com", "/x?action=admin#", guard.ErrQuery},
		{"GET", "api.example.com", "/x?action=admin#x", guard.ErrQuery},
		{"GET", "api.example.com.", "/x", guard.ErrHost},
		{"GET", "api.example.com.:8080", "/x", guard.ErrHost},
		{"GET", "api.example.com::", "/x", guard.ErrHost},
		{"GET", "api.example.com:80:80", "/x", guard.ErrHost},
		{"GET", "api.example.com:x", "/x", guard.ErrHost},
		{"GET", "api%2eexample.com", "/x", guard.ErrHost},
		{"GET", "api.example.com,other", "/x", guard.ErrHost},
		{"GET", "[::1", "/x", guard.ErrHost},
		{"GET", "[::1]x", "/x", guard.ErrHost},
		{"GET", "API.example.com:8080", "/x", nil},
		{"GET", "api.example.com:", "/x", nil},
		{"GET", "[::1]:8080", "/x", nil},
		{"GET", "[::1]", "/x", nil},
		{"GET", "", "/x", nil},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Method, r.Host = test.method, test.host
		r.URL.Path, r.URL.RawQuery, _ = strings.Cut(test.target, "?")
		r = r.WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
		caddyhttp.NewTestReplacer(r)
		if _, err := all.Judge(r); !errors.Is(err, test.want) || err != nil && test.want == nil {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// protocol 31
func TestFurtherTargetsOfARequestAreJudged(t *testing.T) {
	// A WebDAV request is for two paths.
	dav := loaded(t, `[{"path": ["/v2/*"]}]`)
	for destination, want := range map[string]bool{
		"http://localhost/v2/x": true, "/V2/x": true, "//host/v2;a/x": true, "/open/x": false,
		// a path for servers that know no host here
		"//v2/x": true, "//V2/x": true, "///v2/x": true, "//open/x": false,
	} {
		r := httptest.NewRequest("COPY", "/open/o.txt", nil)
		r.Header.Set("Destination", destination)
		if guarded, err := dav.Judge(r.WithContext(withReplacer(t, r).Context())); guarded != want || err != nil {
			t.Errorf("COPY to %s: %v, %v", destination, guarded, err)
		}
	}
	for _, destination := range []string{"v2/x", "*", "a:x"} {
		r := httptest.NewRequest("MOVE", "/open/o.txt", nil)
		r.Header.Set("Destination", destination)
		if _, err := dav.Judge(withReplacer(t, r)); !errors.Is(err, guard.ErrDestination) {
			t.Errorf("MOVE to %s: %v", destination, err)
		}
	}
	// A CONNECT with a path is sent on as a GET (RFC 8441).
	m := loaded(t, `[{"method": ["GET"], "path": ["/v2/*"]}]`)
	r := httptest.NewRequest("GET", "/v2/socket", nil)
	r.Method = "CONNECT"
	r = r.WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{}))
	caddyhttp.NewTestReplacer(r)
	if guarded, err := m.Judge(r); !guarded || err != nil {
		t.Errorf("CONNECT /v2/socket: %v, %v", guarded, err)
	}
}

// Paths that honest clients send are not refused where a matcher sees one spelling: scripts with
// nothing behind them, and characters that are not seen where writing needs them, as in Persian
// and in emoji.
//
// protocol 31
func TestHonestPathsAreNotRefused(t *testing.T) {
	for _, match := range []string{
		`[{"vars": {"guarded": ["yes"]}}]`, `[{"expression": "{http.vars.guarded} == 'yes'"}]`,
		`[{"file": {"root": "/nonexistent"}}]`,
	} {
		m := loaded(t, match)
		for path, want := range map[string]error{
			"/tags/\u2764\ufe0f": nil, "/\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645/x": nil,
			"/gr\u00f6\u00dfe": nil, "/docs/a.shtml": nil, "/a/WebResource.axd": nil, "/blog/index.php": nil,
			"/index.php": nil, "/%C0%EE": nil,
			"/%C0%BA":            guard.ErrSpelling,
			"/ad\u200cmin":       guard.ErrSpelling,
			"/stra\u00df\u200ce": guard.ErrSpelling,
			"/\uff562/a":         guard.ErrSpelling, "/\uf9e4": guard.ErrSpelling,
			"/\u1112\u1161\u11ab": guard.ErrSpelling,
			"/index.php/v2/a":     guard.ErrSpelling, "/x/a.axd/v2": guard.ErrSpelling,
		} {
			if guarded, err := judged(t, m, path); !errors.Is(err, want) || guarded {
				t.Errorf("%s: %q: %v, %v, want %v", match, path, guarded, err, want)
			}
		}
	}
	// An expression over the request alone is asked about every spelling, and refuses none.
	m := loaded(t, `[{"expression": "path('/\u2764/*', '/v2/*') && {http.request.method} == 'GET'"}]`)
	for path, want := range map[string]bool{
		"/\u2764\ufe0f/a": true, "/x": false, "/\uff562/a": true, "/index.php/v2/a": true,
		"/\u1112\u1161\u11ab": false,
		"/%C0%BA":             false, "/v3/index.php": false, "/v2./a": true,
	} {
		if guarded, err := judged(t, m, path); guarded != want || err != nil {
			t.Errorf("%q: %v, %v, want %v", path, guarded, err, want)
		}
	}
}

func TestExpressionsThatLookAtTheRequestAlone(t *testing.T) {
	for expression, want := range map[string]bool{
		`"path('/v2/*')"`: true, `"{http.request.uri.path} == '/v2'"`: true,
		`{"expr": "method('GET')", "name": "x"}`: true,
		`"{http.vars.x} == 'y'"`:                 false, `"vars({'x': 'y'})"`: false, `"file('x')"`: false,
		`"{my_map} == 'y'"`:          false,
		`"{http.regexp.x.1} == 'y'"`: false, `"{http.request.orig_uri.path} == '/v2'"`: false, `7`: false,
		`"{http.request.method} == 'GET' && {x} == 'y'"`: false,
	} {
		if got := isOfRequest(json.RawMessage(expression)); got != want {
			t.Errorf("%s: %v", expression, got)
		}
	}
}

// asked makes a request that was rewritten, unless from is empty.
func asked(t *testing.T, method, host, from, path string) *http.Request {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Method, r.Host = method, host
	ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{})
	if from != "" {
		before := *r
		before.URL = &url.URL{Path: from}
		ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, before)
	}
	r = r.WithContext(ctx)
	caddyhttp.NewTestReplacer(r)
	return r
}

// A HEAD is judged as a GET too, and an extended CONNECT is sent on as one (RFC 8441): also after
// a rewrite, and by placeholders. A guard that names HEAD means HEAD.
//
// protocol 31
func TestMethodsThatServersTakeForOthers(t *testing.T) {
	const getV2, byPlaceholder = `[{"method": ["GET"], "path": ["/v2/*"]}]`, `{http.request.method}`
	const exceptPublic = `[{"method": ["GET", "POST", "PUT"], "path": ["/v2/*"],
		"not": [{"method": ["GET", "HEAD"], "path": ["/v2/public/*"]}]}]`
	for _, test := range []struct {
		match, method, from, path string
		want                      bool
	}{
		{getV2, "HEAD", "", "/v2/a", true},
		{getV2, "CONNECT", "", "/v2/a", true},
		{getV2, "POST", "", "/v2/a", false},
		{getV2, "HEAD", "/v2/a", "/index.html", true},
		{getV2, "HEAD", "/v2/a", "/index.php", true},
		{getV2, "CONNECT", "/v2/a", "/index.php", true},
		{getV2, "POST", "/v2/a", "/index.php", false},
		{`[{"not": [{"method": ["HEAD"]}]}]`, "HEAD", "", "/v2/a", false},
		{`[{"not": [{"method": ["HEAD", "OPTIONS"]}]}]`, "HEAD", "", "/v2/a", false},
		{`[{"not": [{"method": ["HEAD"], "path": ["/health"]}]}]`, "HEAD", "", "/health", false},
		{`[{"not": [{"method": ["HEAD"], "path": ["/health"]}]}]`, "HEAD", "", "/v2/a", true},
		{`[{"not": [{"method": ["HEAD"]}]}, {"method": ["GET"]}]`, "HEAD", "", "/v2/a", true},
		{`[{"not": [{"method": ["POST"]}]}]`, "HEAD", "", "/v2/a", true},
		{exceptPublic, "HEAD", "", "/v2/secret", true},
		{exceptPublic, "HEAD", "", "/v2/public/a", false},
		{exceptPublic, "GET", "", "/v2/public/a", false},
		{`[{"expression": "method('GET')", "not": [{"method": ["HEAD"], "path": ["/x"]}]}]`, "HEAD", "", "/v2/a", true},
		{`[{"expression": "` + byPlaceholder + ` == 'GET'"}]`, "HEAD", "", "/v2/a", true},
		{`[{"expression": "` + byPlaceholder + ` == 'GET'"}]`, "CONNECT", "", "/v2/a", true},
		{`[{"expression": "` + byPlaceholder + ` == 'GET'"}]`, "POST", "", "/v2/a", false},
		{`[{"expression": "method('GET')"}]`, "HEAD", "", "/v2/a", true},
		{`[{"vars": {"` + byPlaceholder + `": ["GET"]}}]`, "HEAD", "", "/v2/a", true},
		{`[{"vars": {"` + byPlaceholder + `": ["GET"]}}]`, "POST", "", "/v2/a", false},
	} {
		guarded, err := loaded(t, test.match).Judge(asked(t, test.method, "example.com", test.from, test.path))
		if guarded != test.want || err != nil {
			t.Errorf("%+v: %v, %v", test, guarded, err)
		}
	}
}

// A matcher of headers compares the host as any text, and servers do not.
//
// protocol 31
func TestHostsAsAnyHeader(t *testing.T) {
	for host, want := range map[string]bool{
		"api.example.com": true, "API.example.com": true, "api.example.com:80": true, "Api.Example.com:8080": true,
		"other.example.com": false,
	} {
		for _, match := range []string{
			`[{"header": {"Host": ["api.example.com"]}}]`,
			`[{"header_regexp": {"host": {"pattern": "^api\\.example\\.com$"}}}]`,
			`[{"not": [{"header": {"Host": ["other.example.com"]}}]}]`,
		} {
			guarded, err := loaded(t, match).Judge(asked(t, "GET", host, "", "/x"))
			if guarded != want || err != nil {
				t.Errorf("%s: %s: %v, %v", match, host, guarded, err)
			}
		}
	}
	m := loaded(t, `[{"header": {"host": ["api.example.com"]}}]`)
	if _, err := m.Judge(asked(t, "GET", "api.example.com:80:80", "", "/x")); !errors.Is(err, guard.ErrHost) {
		t.Errorf("two ports: %v", err)
	}
}

// Of two values a matcher takes either, and a backend may take the other: such a request is not
// exempt.
//
// protocol 31
func TestWhatIsThereTwiceExemptsNothing(t *testing.T) {
	t.Parallel()
	for match, tests := range map[string]map[string]bool{
		`[{"not": [{"query": {"public": ["1"]}}]}]`: {
			"?public=1": false, "?public=0": true, "?public=0&public=1": true, "?public=1&public=0": true,
			"?public=1&public[]=0": true, "?public=1&other=1&other=2": false,
		},
		`[{"path": ["/v2/*"], "not": [{"query": {"public": ["1"]}}]}]`: {"?public=1&public=0": false},
		`[{"query": {"public": ["0"]}}]`:                               {"?public=1&public=0": true},
		`[{"not": [{"header": {"x-pub": ["1"]}}]}]`: {
			"X-Pub: 1": false, "X-Pub: 1|X-Pub: 0": true, "X-Pub: 1|X_Pub: 0": true, "X-Pub: 1|X-Other: 0": false,
		},
		`[{"not": [{"not": [{"header_regexp": {"X-Pub": {"pattern": "1"}}}]}]}]`: {
			"X-Pub: 1|X-Pub: 0": true,
		},
		`[{"header": {"X-Pub": ["1"]}}]`: {"X-Pub: 1|X-Pub: 0": true},
	} {
		m := loaded(t, match)
		for given, want := range tests {
			r := asked(t, "GET", "example.com", "", "/x")
			if query, ok := strings.CutPrefix(given, "?"); ok {
				r.URL.RawQuery = query
			} else {
				for line := range strings.SplitSeq(given, "|") {
					name, value, _ := strings.Cut(line, ": ")
					r.Header.Add(name, value)
				}
			}
			if guarded, err := m.Judge(r); guarded != want || err != nil {
				t.Errorf("%s: %s: %v, %v, want %v", match, given, guarded, err, want)
			}
		}
	}
}

// protocol 31
func TestMatchersThatMatchNothingAreRefused(t *testing.T) {
	t.Parallel()
	for match, want := range map[string]string{
		`{"path": ["v2/*"]}`: "no path matches that", `{"path": ["/a /b"]}`: "one pattern in each",
		`{"path": [""]}`: "no path matches", `{"not": []}`: "want a matcher", `{"not": [{}]}`: "want a matcher",
		`{"not": [{"path": ["open/*"]}]}`:                                      "no path matches that",
		`{"path": ["/v2/*", "*.php", "{vars.path}", "/a%20b", "/my files/*"]}`: "",
		`{"not": [{"method": ["GET"]}]}`:                                       "",
	} {
		var set caddy.ModuleMap
		if err := json.Unmarshal([]byte(match), &set); err != nil {
			t.Fatal(err)
		}
		err := Check(set)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", match, err, want)
		}
	}
}
