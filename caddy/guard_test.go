package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// token goes all the way.
func (g *gateway) token() string {
	g.t.Helper()
	d := g.device()
	newPerson(g.t, "alice").allow(d)
	answer := d.poll()
	if answer.Access == "" {
		g.t.Fatalf("no token: %+v", answer)
	}
	return answer.Access
}

// mirror is a legacy API that tells every header that reached it.
const mirror = `
%s {
	device_login
	device_auth /open/* {
		optional
	}
	device_auth /twice/* products:read
	device_auth /twice/more/* openid
	device_auth /admin/* products:write
	device_auth /named/* {
		header X-Account email
		header X-User user
	}
	device_auth /crossing/* {
		preflight pass
	}
	handle /admin/* {
		respond "never"
	}
	handle {
		respond "{http.request.header.Remote-User}|` +
	`{http.request.header.Remote_user}{http.request.header.Remote.user}|` +
	`{http.request.header.X-User}|{http.request.header.X-Account}|{http.request.header.Authorization}|` +
	`{http.auth.user.id}|{http.auth.user.email}"
	}
	handle_errors {
		respond "own page {err.status_code} [{http.request.header.Remote-User}` +
	`{http.request.header.Remote_user}{http.request.header.Remote.user}{http.auth.user.id}]"
	}
}
`

func startMirror(t *testing.T) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(func(s string) string {
		head, tail, _ := strings.Cut(s, "# The gateway:")
		_, tail, _ = strings.Cut(tail, "# The demo identity provider.")
		head = strings.Replace(head, "scopes openid profile email offline_access products:read",
			"scopes openid profile email offline_access products:read\n\t\t\torigin http://page.example", 1)
		return head + strings.Replace(mirror, "%s", g.url, 1) + "#" + tail
	})
	g.start()
	return g
}

// protocol 31, 33
func TestSpoofedIdentityNeverReachesTheBackend(t *testing.T) {
	t.Parallel()
	g := startMirror(t)
	token := g.token()
	for path, want := range map[string]string{"/open/x": "alice||||", "/twice/x": "alice||||",
		"/named/x": "||alice|alice@example.com|"} {
		header := http.Header{"Authorization": {"Bearer " + token}}
		for _, name := range []string{"Remote-User", "REMOTE_USER", "remote-user", "Remote_user", "Remote.User",
			"remote.user", "X-User"} {
			if name != "X-User" || path == "/named/x" {
				header[name] = []string{"root", "admin"}
			}
		}
		if _, body := g.request("GET", path, header); body != want+"|alice|alice@example.com" {
			t.Errorf("%s: the backend saw %q", path, body)
		}
	}
	root := http.Header{"Remote-User": {"root", "root"}, "remote_user": {"root"}, "REMOTE-USER": {"root"},
		"Remote.User": {"root"}, "Access-Control-Request-Method": {"GET"}, "Origin": {"http://page.example"}}
	for _, on := range []struct{ method, path, want string }{
		{"GET", "/open/x", "||||||"}, {"OPTIONS", "/crossing/x", "||||||"}, {"GET", "/twice/x", "own page 401 []"},
		{"GET", "/admin/x", "own page 401 []"}, {"GET", "/open/../x", "own page 400 []"},
	} {
		if response, body := g.request(on.method, on.path, root); body != on.want {
			t.Errorf("%s %s: nobody is somebody: %d %q, want %q", on.method, on.path, response.StatusCode,
				body, on.want)
		}
	}
}

// protocol 30
func TestRefusalsGoThroughHandleErrors(t *testing.T) {
	t.Parallel()
	g := startMirror(t)
	token := g.token()
	tests := []struct {
		path, authorization string
		status              int
		want                string
	}{
		{"/twice/x", "", 401, "resource_metadata="},
		{"/twice/x", "Bearer x", 401, `error="invalid_token"`},
		{"/twice/x", "Bearer", 400, `error="invalid_request"`},
		{"/admin/x", "Bearer " + token, 403, `scope="products:write"`},
	}
	for _, test := range tests {
		header := http.Header{"Origin": {"http://page.example"}}
		if test.authorization != "" {
			header.Set("Authorization", test.authorization)
		}
		response, body := g.request("GET", test.path, header)
		if response.StatusCode != test.status ||
			!strings.Contains(response.Header.Get("WWW-Authenticate"), test.want) ||
			!strings.HasPrefix(body, "own page") {
			t.Errorf("%s with %.10q: %d %q %q", test.path, test.authorization, response.StatusCode,
				response.Header.Get("WWW-Authenticate"), body)
		}
		if response.Header.Get("Cache-Control") != "no-store" ||
			response.Header.Get("Access-Control-Allow-Origin") != "http://page.example" {
			t.Errorf("%s: headers %v", test.path, response.Header)
		}
	}
}

// protocol 31: what some backend may take for /admin is guarded like it, or
// refused, whoever serves it in the end.
func TestPathTricksDoNotPassTheGuard(t *testing.T) {
	t.Parallel()
	g := startMirror(t)
	for path, status := range map[string]int{
		"/admin/x": 401, "//admin/x": 401, "/admin//x": 401, "/%61dmin/x": 401, "/ADMIN/x": 401, "/admin%2Fx": 401,
		"/%2561dmin/x": 401,
		"/admin;x/x":   401, "/admin;/x": 401, "/;x/admin/x": 401, "/Admin%3Bx/x": 401, "/admin%5Cx": 401,
		"/./admin/x": 400, "/open/../admin/x": 400, "/x/%2e%2e/admin/x": 400, "/admin/../x": 400, "/admin//../x": 400,
		"/admin/a//../../x": 400, "/admin/a/%2f/../../x": 400,
		"/open/..;/admin/x": 400, "/open/%2e%2e;/admin/x": 400, "/open/..%5Cadmin": 400, "/open/%252e%252e/admin": 400,
		"/open/%252e%252e/admin/%25zz": 400,
		"/open;x/y":                    200, "/elsewhere;a=b/c": 200, "/elsewhere/a.b/...": 200,
		"/elsewhere/100%25": 200,
	} {
		response, body := g.request("GET", path,
			http.Header{"X-Original-Url": {"/open/x"}, "X-Rewrite-Url": {"/open/x"},
				"X-Http-Method-Override": {"OPTIONS"}})
		if response.StatusCode != status {
			t.Errorf("%s: %d %q, want %d", path, response.StatusCode, body, status)
		}
	}
	if response, _ := g.request("GET", "/admin;x/x",
		http.Header{"Authorization": {"Bearer " + g.token()}}); response.StatusCode != 403 {
		t.Errorf("without the scope: %d", response.StatusCode)
	}
}

// What a client of ours cannot send, a socket can.
//
// protocol 30, 31
func TestOneAuthorizationHeaderPassesAtMost(t *testing.T) {
	t.Parallel()
	g := startMirror(t)
	bearer := "Authorization: Bearer " + g.token() + "\r\n"
	const empty, preflight = "Authorization:\r\n", "Origin: http://page.example\r\n" +
		"Access-Control-Request-Method: GET\r\n"
	tests := []struct {
		name, line, headers string
		status              int
		body                string // less the guard's own
	}{
		{"a token", "GET /open/x", bearer, 200, "alice||||"},
		{"an empty header", "GET /twice/x", empty, 401, ""},
		{"an empty header, optional", "GET /open/x", empty, 200, "|||||"},
		{"an empty header first", "GET /open/x", empty + bearer, 400, ""},
		{"an empty header last", "GET /open/x", bearer + empty, 400, ""},
		{"in another case", "GET /open/x", empty + strings.ToLower(bearer), 400, ""},
		{"two empty headers", "GET /open/x", empty + empty, 400, ""},
		{"of two kinds", "GET /open/x", "Authorization: Basic eDp5\r\n" + bearer, 400, ""},
		{"a tab after the scheme", "GET /open/x", strings.Replace(bearer, "Bearer ", "Bearer\t", 1), 400, ""},
		{"two in a preflight", "OPTIONS /crossing/x", preflight + empty + bearer, 400, ""},
		{"a preflight", "OPTIONS /crossing/x", preflight, 200, "|||||"},
	}
	for _, test := range tests {
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", test.line,
			strings.TrimPrefix(g.url, "http://"), test.headers)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != test.status ||
			test.status == 200 && !strings.HasPrefix(string(body), test.body) {
			t.Errorf("%s: %d %q %v, want %d %q", test.name, response.StatusCode, body, err, test.status, test.body)
		}
	}
}

// protocol 34
func TestPageOfAnotherOriginCanPlayTheDevice(t *testing.T) {
	t.Parallel()
	g := startMirror(t)
	origin := http.Header{"Origin": {"http://page.example"}, "Access-Control-Request-Method": {"GET"},
		"Access-Control-Request-Headers": {"authorization"}}
	if response, _ := g.request("OPTIONS", "/twice/x", origin); response.StatusCode != 204 ||
		response.Header.Get("Access-Control-Allow-Origin") != "http://page.example" ||
		response.Header.Get("Access-Control-Allow-Headers") != "authorization" {
		t.Errorf("preflight: %d %v", response.StatusCode, response.Header)
	}
	response, _ := g.request("GET", "/twice/x",
		http.Header{"Origin": {"http://page.example"}, "Authorization": {"Bearer " + g.token()}})
	if response.StatusCode != 200 || response.Header.Get("Access-Control-Allow-Origin") != "http://page.example" {
		t.Errorf("request: %d %v", response.StatusCode, response.Header)
	}
	response, _ = g.request("GET", "/twice/x", http.Header{"Origin": {"http://evil.example"}})
	if response.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("another page may read the answer: %v", response.Header)
	}
}

func TestTwoGuardsBothApply(t *testing.T) {
	t.Parallel()
	g := startMirror(t)
	if response, body := g.request("GET", "/twice/more/x",
		http.Header{"Authorization": {"Bearer " + g.token()}}); response.StatusCode != 200 ||
		!strings.HasPrefix(body, "alice|") {
		t.Errorf("got %d %q", response.StatusCode, body)
	}
	if response, _ := g.request("GET", "/twice/more/x", http.Header{}); response.StatusCode != 401 {
		t.Errorf("without a token: %d", response.StatusCode)
	}
}

func TestGuardThatNoClientCanPassIsWarnedAbout(t *testing.T) {
	t.Parallel()
	g := startMirror(t)
	if !strings.Contains(g.log.String(), "products:write") {
		t.Errorf("no warning in the log:\n%s", g.log)
	}
}

func TestGuardThatTakesEveryAudienceIsWarnedAbout(t *testing.T) {
	t.Parallel()
	g := startWith(t, "audience http://a.example http://b.example")
	g.log.wait(t, "a guard without audience accepts tokens for all audiences of the server")
}

func TestSecretsAreInNoConfigAndNoLog(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "client_secret only-for-this-demo", "client_secret {env.DEMO_SECRET}", 1)
	})
	g.env = append(g.env, "DEMO_SECRET=only-for-this-demo-from-the-environment")
	g.start()
	response, err := http.Get("http://" + g.admin + "/config/apps/device_login")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	config, err := io.ReadAll(response.Body)
	if err != nil || !strings.Contains(string(config), "{env.DEMO_SECRET}") ||
		strings.Contains(string(config), "from-the-environment") {
		t.Errorf("%v: %s", err, config)
	}
	if strings.Contains(g.log.String(), "from-the-environment") {
		t.Error("the secret is in the log")
	}
}

// protocol 7
func TestUnsetSecretIsRefusedAtLoad(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "client device-login {",
			"client device-login {\n\t\t\tsecret {env.NOBODY_SET_THIS}", 1)
	})
	if out, err := g.run("validate", "--config", g.config); err == nil ||
		!strings.Contains(out, "client device-login: secret") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestAccessLogSaysWhoAsked(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "\tdevice_auth /api/*", "\tlog\n\tdevice_auth /api/*", 1)
	})
	g.start()
	if status, _ := g.api(g.token()); status != http.StatusOK {
		t.Fatal(status)
	}
	g.log.wait(t, `"user_id":"alice"`)
}
