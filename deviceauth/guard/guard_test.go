package guard_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 30, 31
func TestGuardAnswers(t *testing.T) {
	s := gatewaytest.New(t)
	token := s.AccessToken()
	answersAs(t, s, []answerTest{
		{name: "a good token", guard: guard.Options{}, headers: []string{"Authorization", "Bearer " + token},
			status: 200, want: ""},
		{name: "another case", guard: guard.Options{}, headers: []string{"Authorization", "bEARER " + token},
			status: 200, want: ""},
		{name: "two spaces", guard: guard.Options{}, headers: []string{"Authorization", "Bearer  " + token},
			status: 200, want: ""},
		{name: "its scope", guard: guard.Options{Need: deviceauth.Requirement{Scope: "read"}},
			headers: []string{"Authorization", "Bearer " + token}, status: 200, want: ""},
		{name: "no credentials", guard: guard.Options{}, headers: nil, status: 401,
			want: `Bearer realm="https://api.example.com", ` +
				`resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`},
		{name: "credentials of another kind", guard: guard.Options{}, headers: []string{"Authorization", "Basic eDp5"},
			status: 401, want: "Bearer realm="},
		{name: "no credentials, optional", guard: guard.Options{Optional: true}, headers: nil, status: 200, want: ""},
		{name: "a bad token, optional", guard: guard.Options{Optional: true},
			headers: []string{"Authorization", "Bearer x"}, status: 401,
			want: `error="invalid_token"`},
		{name: "a bad token", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer " + token + "x"}, status: 401,
			want: `error="invalid_token"`},
		{name: "another audience", guard: guard.Options{Need: deviceauth.Requirement{Audience: []string{"https://x"}}},
			headers: []string{"Authorization", "Bearer " + token}, status: 401, want: `error="invalid_token"`},
		{name: "another scope", guard: guard.Options{Need: deviceauth.Requirement{Scope: "read write"}},
			headers: []string{"Authorization", "Bearer " + token}, status: 403,
			want: `error="insufficient_scope", error_description="the access token lacks a scope that this ` +
				`resource needs", scope="read write"`},
		{name: "two headers", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer " + token, "Authorization", "Bearer " + token}, status: 400,
			want: `error="invalid_request"`},
	})
}

// protocol 31
func TestGuardRefusesMalformedCredentials(t *testing.T) {
	s := gatewaytest.New(t)
	token := s.AccessToken()
	answersAs(t, s, []answerTest{
		{name: "no token", guard: guard.Options{}, headers: []string{"Authorization", "Bearer"}, status: 400,
			want: `error="invalid_request"`},
		{name: "two tokens in one", guard: guard.Options{}, headers: []string{"Authorization", "Bearer a b"},
			status: 400, want: `error="invalid_request"`},
		{name: "a tab after the scheme", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer\t" + token}, status: 400,
			want: `error="invalid_request"`},
		{name: "a tab after the scheme, optional", guard: guard.Options{Optional: true},
			headers: []string{"Authorization", "Bearer\t" + token}, status: 400, want: `error="invalid_request"`},
		{name: "a tab before the token", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer \t" + token}, status: 400,
			want: `error="invalid_request"`},
		{name: "a comma after the scheme", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer," + token}, status: 400,
			want: `error="invalid_request"`},
		{name: "no space at all", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer=" + token}, status: 400,
			want: `error="invalid_request"`},
		{name: "a tilde for a space", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer~" + token}, status: 400,
			want: `error="invalid_request"`},
		{name: "a scheme that begins like ours", guard: guard.Options{},
			headers: []string{"Authorization", "Bearers " + token}, status: 401,
			want: "Bearer realm="},
		{name: "an empty header", guard: guard.Options{}, headers: []string{"Authorization", ""}, status: 401,
			want: "Bearer realm="},
		{name: "an empty header before a token", guard: guard.Options{},
			headers: []string{"Authorization", "", "Authorization", "Bearer " + token}, status: 400,
			want: `error="invalid_request"`},
		{name: "an empty header after a token", guard: guard.Options{},
			headers: []string{"Authorization", "Bearer " + token, "Authorization", ""}, status: 400,
			want: `error="invalid_request"`},
	})
}

// protocol 30, 31
func TestGuardAnswersToBasic(t *testing.T) {
	s := gatewaytest.New(t)
	token := s.AccessToken()
	answersAs(t, s, []answerTest{
		{name: "a tab in Basic", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", strings.Replace(gatewaytest.BasicAuth("x", token), " ", "\t", 1)},
			status:  400,
			want:    `error="invalid_request"`},
		{name: "the token as a password", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", gatewaytest.BasicAuth("x", token)}, status: 200, want: ""},
		{name: "another password", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", gatewaytest.BasicAuth("x", "y")},
			status:  401, want: `error="invalid_token"`},
		{name: "a password that can be no token", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", gatewaytest.BasicAuth("x", "open sesame")}, status: 401,
			want: `Basic realm="api.example.com", charset="UTF-8", Bearer realm="api.example.com", ` +
				`error="invalid_token"`},
		{name: "an empty password", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", gatewaytest.BasicAuth("x", "")},
			status:  401, want: `error="invalid_token"`},
		{name: "an empty password, optional", guard: guard.Options{Basic: true, Optional: true},
			headers: []string{"Authorization", gatewaytest.BasicAuth("x", "")}, status: 401,
			want: `error="invalid_token"`},
		{name: "neither user nor password", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", gatewaytest.BasicAuth("", "")}, status: 401, want: "Bearer realm="},
		{name: "Basic without a colon", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", "Basic eA=="}, status: 400,
			want: `error="invalid_request"`},
		{name: "Basic that is none", guard: guard.Options{Basic: true},
			headers: []string{"Authorization", "Basic !"}, status: 400,
			want: `error="invalid_request"`},
	})
}

// An answerTest is a request to a guard, and its answer.
type answerTest struct {
	name    string
	guard   guard.Options
	headers []string
	status  int // 200: let through
	want    string
}

// answersAs asks guards of a site's engine.
func answersAs(t *testing.T, s *gatewaytest.Site, tests []answerTest) {
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, _, err := guard.New(test.guard, s.Engine).Authenticate(gatewaytest.APIRequest(test.headers...), "")
			var challenge *guard.Challenge
			switch {
			case test.status == 200 && err != nil:
				t.Errorf("got %v", err)
			case test.status != 200 && (!errors.As(err, &challenge) || challenge.Status != test.status ||
				!strings.Contains(strings.Join(challenge.Headers, ", "), test.want)):
				t.Errorf("got %+v, want %d and %s", err, test.status, test.want)
			case challenge != nil && test.want == "Bearer realm=" &&
				strings.Contains(strings.Join(challenge.Headers, ", "), "error="):
				t.Errorf("who sent no token is told an error: %s", strings.Join(challenge.Headers, ", "))
			}
		})
	}
}

// An empty Authorization header before another one hides the token from code that
// looks at the first header only.
//
// protocol 31
func TestRequestWithCredentialsIsNoPreflight(t *testing.T) {
	s := gatewaytest.New(t)
	r := gatewaytest.APIRequest("Access-Control-Request-Method", "GET", "Authorization", "",
		"Authorization", "Bearer x")
	r.Method = "OPTIONS"
	if guard.IsPreflight(r) || guard.New(guard.Options{}, s.Engine).Preflight(http.Header{}, r) {
		t.Error("it passes as a preflight")
	}
}

// protocol 31: a token elsewhere than in the header is not looked at.
func TestTokenInTheQueryIsNotLookedAt(t *testing.T) {
	s := gatewaytest.New(t)
	r := httptest.NewRequest("POST", "/v2?access_token="+s.AccessToken(), strings.NewReader("access_token=x"))
	r.Header.Set("Content-Type", gatewaytest.Form)
	if _, _, err := guard.New(guard.Options{}, s.Engine).Authenticate(r, ""); err == nil {
		t.Error("let through")
	}
}

// protocol 33
func TestReservedHeadersAreStrippedInEverySpelling(t *testing.T) {
	reserved := guard.Options{Headers: []guard.IdentityHeader{{Name: "X-User", Claim: "user"}}}.ReservedHeaders()
	r := gatewaytest.APIRequest()
	for _, name := range []string{"Remote-User", "remote-user", "REMOTE_USER", "Remote_user", "Remote.User", "X-User",
		"x_user", "Remote-Groups", "Remote_Email"} {
		r.Header[name] = []string{"root", "admin"}
	}
	r.Header.Set("X-Other", "kept")
	reserved.Strip(r)
	if len(r.Header) != 1 || r.Header.Get("X-Other") != "kept" {
		t.Errorf("left: %v", r.Header)
	}
}

// protocol 34
func TestChallengeLeadsToWhatATokenCanBeAskedFor(t *testing.T) {
	const site, at = "https://api.example.com", "https://api.example.com/.well-known/oauth-protected-resource"
	tests := map[string]struct {
		audience []string
		path     string
		want     string
	}{
		"the site": {[]string{site}, "/v2/x", at}, "a part of it": {[]string{site, site + "/v2"}, "/v2/x", at + "/v2"},
		"that part":               {[]string{site + "/v2/"}, "/v2", at + "/v2"},
		"one that begins like it": {[]string{site + "/v2"}, "/v22", at},
		"the closest":             {[]string{site + "/v2/b", site + "/v2", site + "/v2/a"}, "/v2/a/1", at + "/v2/a"},
		"another spelling": {[]string{"HTTPS://API.example.com:443/v2"}, "/v2/x",
			"https://api.example.com/.well-known/oauth-protected-resource/v2"},
		"beside another site's": {[]string{"https://b.example.com/v2", "urn:v2", site + "/"}, "/v2", at},
		"another site's":        {[]string{"https://b.example.com/v2", "urn:v2"}, "/v2", at},
	}
	for name, test := range tests {
		s := gatewaytest.New(t)
		tokenGuard := guard.New(guard.Options{Need: deviceauth.Requirement{Audience: test.audience}}, s.Engine)
		_, _, err := tokenGuard.Authenticate(httptest.NewRequest("GET", site+test.path, nil), "")
		var c *guard.Challenge
		if !errors.As(err, &c) {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(c.Headers[0], `resource_metadata="`)
		if got = strings.TrimSuffix(got, `"`); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestUnverifiedEmailIsNotTold(t *testing.T) {
	for value, want := range map[any]string{true: "a@example.com", "true": "a@example.com", false: "",
		"false": "", nil: ""} {
		id := deviceauth.NewIdentity(&deviceauth.Person{Claims: deviceauth.Claims{"email": "a@example.com",
			"email_verified": value}}, new(deviceauth.AccessClaims))
		if got := id.Claim("email"); got != want {
			t.Errorf("email_verified %v: %q, want %q", value, got, want)
		}
	}
	id := deviceauth.NewIdentity(&deviceauth.Person{Claims: deviceauth.Claims{"email": "a@example.com"}},
		new(deviceauth.AccessClaims))
	if got := id.Claim("email"); got == "" {
		t.Error("an upstream that says nothing of verification is believed")
	}
}

func TestBackendIsToldWhoAsks(t *testing.T) {
	s := gatewaytest.New(t)
	s.Upstream.Person.Claims = deviceauth.Claims{"name": "Alice\r\nX-Evil: 1", "email": "alice@example.com",
		"groups": []any{"staff", "ops"}, "department": "R&D"}
	token := s.AccessToken()
	tokenGuard := guard.New(guard.Options{Headers: []guard.IdentityHeader{{Name: "X-User", Claim: "user"},
		{Name: "X-Department", Claim: "department"}}}, s.Engine)
	r := gatewaytest.APIRequest("Authorization", "Bearer "+token)
	id, kept, err := tokenGuard.Authenticate(r, "")
	if err != nil || kept != token {
		t.Fatal(err)
	}
	tokenGuard.SetIdentityHeaders(r, id)
	want := map[string]string{
		"X-User": "alice", "Remote-User": "", "X-Department": "R&D", "Remote-Name": "AliceX-Evil: 1",
		"Remote-Email":  "alice@example.com",
		"Remote-Groups": "staff,ops", "Remote-Client": "tv", "Remote-Scopes": "openid offline_access read",
		"Authorization": "",
	}
	for name, value := range want {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	if _, _, err := tokenGuard.Authenticate(gatewaytest.APIRequest(), token); err != nil {
		t.Errorf("a second guard, with the token that the first took off: %v", err)
	}
	r = gatewaytest.APIRequest("Authorization", "Bearer "+token)
	guard.New(guard.Options{KeepToken: true}, s.Engine).Authenticate(r, "")
	if r.Header.Get("Authorization") == "" {
		t.Error("the token was to be kept")
	}
}

// A default header can be configured to have another claim.
func TestDefaultHeaderWithAnotherClaim(t *testing.T) {
	s := gatewaytest.New(t)
	s.Upstream.Person.Claims = deviceauth.Claims{"groups": []any{"staff"}, "roles": []any{"admin"}}
	token := s.AccessToken()
	g := guard.New(guard.Options{Headers: []guard.IdentityHeader{{Name: "remote-groups", Claim: "roles"}}}, s.Engine)
	r := gatewaytest.APIRequest("Authorization", "Bearer "+token)
	id, _, err := g.Authenticate(r, "")
	if err != nil {
		t.Fatal(err)
	}
	g.SetIdentityHeaders(r, id)
	if got := r.Header["Remote-Groups"]; len(got) != 1 || got[0] != "admin" {
		t.Errorf("Remote-Groups is %q, want the roles", got)
	}
}

// protocol 34
func TestGuardAnswersPreflights(t *testing.T) {
	s := gatewaytest.New(t)
	tests := []struct {
		name, method, origin string
		guard                guard.Options
		answered             bool
		allowed              string
	}{
		{"a known origin", "OPTIONS", "https://tv.example", guard.Options{}, true, "https://tv.example"},
		{"an unknown origin", "OPTIONS", "https://evil.example", guard.Options{}, true, ""},
		{"left to the backend", "OPTIONS", "https://tv.example", guard.Options{PassPreflight: true}, false, ""},
		{"no preflight", "GET", "https://tv.example", guard.Options{}, false, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := gatewaytest.APIRequest("Origin", test.origin, "Access-Control-Request-Method", "PATCH",
				"Access-Control-Request-Headers", "authorization,x-thing")
			r.Method = test.method
			header := http.Header{}
			if guard.New(test.guard, s.Engine).Preflight(header, r) != test.answered {
				t.Errorf("answered is not %v", test.answered)
			}
			if header.Get("Access-Control-Allow-Origin") != test.allowed ||
				test.allowed != "" && header.Get("Access-Control-Allow-Headers") != "authorization,x-thing" {
				t.Errorf("got %v", header)
			}
		})
	}
}

// protocol 9, 28, 34
func TestGuardedSiteDescribesItself(t *testing.T) {
	const api = "https://api.example.com"
	s := gatewaytest.New(t)
	tests := []struct {
		name, path string
		audience   []string
		resource   string // none: 404
	}{
		{"the site", "", []string{api}, api},
		{"the site, by the other spelling of its audience", "", []string{api + "/"}, api},
		{"the site with a slash", "/", []string{api}, api + "/"},
		{"a part of it", "/v2/products/17", []string{api}, api + "/v2/products/17"},
		{"a part with a query", "/v2?x=%41", []string{api}, api + "/v2?x=%41"},
		{"a part that needs encoding", "/a%20b", []string{api}, api + "/a%20b"},
		{"within another audience", "/v2/x", []string{api + "/v2"}, api + "/v2/x"},
		{"beside it", "/v22", []string{api + "/v2"}, ""},
		{"above it", "", []string{api + "/v2"}, ""},
		{"out of it", "/v2/../x", []string{api + "/v2"}, ""},
		{"another host's", "/v2", []string{"https://other.example.com"}, ""},
		{"another scheme's, behind a proxy", "/v2", []string{"http://api.example.com"}, "http://api.example.com/v2"},
		{"no URL's", "/v2", []string{"urn:v2"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			describes(t, api+guard.ResourceMetadataPath+test.path, test.audience, test.resource)
		})
	}
	w := s.Post("/oauth2/device_authorization", gatewaytest.Form,
		"client_id=tv&resource="+url.QueryEscape(s.Engine.Audience()[0]+"/v2/products?x=y"))
	if w.Code != 200 {
		t.Errorf("the server does not take what is described: %s", w.Body)
	}
}

// describes wants the metadata at an address to name a resource; none: 404.
func describes(t *testing.T, address string, audience []string, resource string) {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", address, nil)
	described := guard.Resource{
		Servers: []string{"https://connect.example.com"}, Scope: "offline_access read", Audience: audience,
	}
	described.ServeHTTP(w, r)
	if w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%v", w.Header())
	}
	if resource == "" {
		if w.Code != 404 {
			t.Errorf("got %d %s", w.Code, w.Body)
		}
		return
	}
	v := gatewaytest.JSON(t, w)
	if w.Code != 200 || v["resource"] != resource ||
		!reflect.DeepEqual(v["scopes_supported"], []any{"read"}) {
		t.Fatalf("got %d %v", w.Code, v)
	}
	described.Scope = ""
	w = httptest.NewRecorder()
	described.ServeHTTP(w, r)
	if _, there := gatewaytest.JSON(t, w)["scopes_supported"]; there {
		t.Errorf("an empty list: %s", w.Body)
	}
}

// protocol 28, 34
func TestPreflightsOfMetadataAllowWhatTheyAskFor(t *testing.T) {
	s := gatewaytest.New(t)
	request := func(to http.Handler, address string) {
		t.Helper()
		w, r := httptest.NewRecorder(), httptest.NewRequest("OPTIONS", address, nil)
		r.Header.Set("Origin", "https://inspector.example")
		r.Header.Set("Access-Control-Request-Method", "GET")
		r.Header.Set("Access-Control-Request-Headers", "mcp-protocol-version,x-other")
		to.ServeHTTP(w, r)
		if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != "*" ||
			w.Header().Get("Access-Control-Allow-Headers") != "mcp-protocol-version,x-other" {
			t.Errorf("%s: %d %v", address, w.Code, w.Header())
		}
	}
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration",
		"/oauth2/jwks"} {
		request(s, "https://api.example.com"+path)
	}
	request(guard.Resource{Audience: []string{"https://api.example.com"}},
		"https://api.example.com"+guard.ResourceMetadataPath)
}

func FuzzAuthorizationHeader(f *testing.F) {
	f.Add("Bearer abc")
	f.Add("Basic eDp5")
	f.Add("bearer")
	f.Fuzz(func(t *testing.T, header string) {
		tokenGuard := guard.New(guard.Options{Basic: true}, gatewaytest.New(t).Engine)
		id, _, err := tokenGuard.Authenticate(gatewaytest.APIRequest("Authorization", header), "")
		var challenge *guard.Challenge
		if id != nil || !errors.As(err, &challenge) ||
			strings.ContainsAny(strings.Join(challenge.Headers, ", "), "\r\n") {
			t.Errorf("%q: %v, %v", header, id, err)
		}
	})
}
