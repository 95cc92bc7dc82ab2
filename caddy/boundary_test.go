package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// What is judged is what is sent. These tests write requests as bytes to the
// built binary, since no client and no http.Request can express what broke, and
// look at what reached backends of different make.

// A stance is a way to put a guard before a backend, as a site's block. Nobody
// without a token may get the secret, be somebody, or hand on our cookies.
type stance struct {
	site  string // BACKEND is the backend's address
	json  string // the same as routes of a JSON configuration
	under string // before the paths of the backend
	open  bool   // the secret is for everybody, but nobody is somebody
	tight bool   // nothing at all is for everybody
	other bool   // the site before the backend has no guard of ours, but asks one
}

var stances = map[string]stance{
	"plain":      {site: "device_auth /v2/* products:read\nreverse_proxy BACKEND"},
	"exact":      {site: "device_auth /v2/secret\nreverse_proxy BACKEND"},
	"all":        {site: "device_auth\nreverse_proxy BACKEND", tight: true},
	"renamed":    {site: "device_auth /v2/* {\nheader X-User user\n}\nreverse_proxy BACKEND"},
	"two":        {site: "device_auth /v2/*\ndevice_auth /v2/secret {\nheader X-User user\n}\nreverse_proxy BACKEND"},
	"handle":     {site: "handle /v2/* {\ndevice_auth\nreverse_proxy BACKEND\n}\nhandle {\nrespond elsewhere\n}"},
	"route":      {site: "route {\ndevice_auth /v2/*\nreverse_proxy BACKEND\n}"},
	"handlepath": {site: "handle_path /api/* {\ndevice_auth /v2/*\nreverse_proxy BACKEND\n}", under: "/api"},
	"not":        {site: "@in not path /open/* *.css\ndevice_auth @in\nreverse_proxy BACKEND"},
	"cel":        {site: "@in expression path('/v2/*')\ndevice_auth @in\nreverse_proxy BACKEND"},
	"cel2": {site: "@in expression `{path}.startsWith('/v2/') && {method} != 'TRACE'`\ndevice_auth @in\n" +
		"reverse_proxy BACKEND"},
	"celnot": {site: "@in expression !path('/open/*','*.css')\ndevice_auth @in\nreverse_proxy BACKEND"},
	"regexp": {site: "@in path_regexp ^/v2/\ndevice_auth @in\nreverse_proxy BACKEND"},
	"vars":   {site: "@in vars {path} /v2/secret\ndevice_auth @in\nreverse_proxy BACKEND"},
	"forward": {site: "forward_auth GATEWAY {\nheader_up Host forwarded.test\nuri /\ncopy_headers Remote-User\n}\n" +
		"reverse_proxy BACKEND", tight: true, other: true},
	"keys":     {site: "device_auth /v2/* {\nlegacy X-Api-Key KEYS\n}\nreverse_proxy BACKEND"},
	"optional": {site: "device_auth /v2/* {\noptional\n}\nreverse_proxy BACKEND", open: true},
	"report":   {site: "device_auth /v2/* {\nreport_only\n}\nreverse_proxy BACKEND", open: true},
	"edge": {site: "device_auth /v2/* {\nissuer ISSUER\nclient edge only-for-this-test\n}\n" +
		"reverse_proxy BACKEND"},
	"edgeall": {site: "device_auth {\nissuer ISSUER\nclient edge only-for-this-test\n}\n" +
		"reverse_proxy BACKEND", tight: true},
	"handler": {json: `[{"handle": [{"handler": "device_auth", "match": [{"path": ["/v2/*"]}]}]}, ` +
		jsonProxy + `]`},
	"matched": {json: `[{"handle": [{"handler": "device_auth_site"}]}, {"match": [{"path": ["/v2/*"]}], "handle": ` +
		`[{"handler": "device_auth"}]}, ` +
		jsonProxy + `]`},
	"errors": {site: "device_auth /v2/*\nreverse_proxy BACKEND\nhandle_errors {\nreverse_proxy BACKEND\n}"},
}

const jsonProxy = `{"handle": [{"handler": "reverse_proxy", "upstreams": [{"dial": "BACKEND"}]}]}`

// A boundary is a gateway with a site for each stance and backend.
type boundary struct {
	*gateway
	at       string // host and port of the sites
	backends map[string]string
	token    string
}

func (b *boundary) host(stance, backend string) string {
	return stance + "." + backend + ".test" + b.at[strings.Index(b.at, ":"):]
}

func startBoundary(t *testing.T) *boundary {
	t.Helper()
	b := &boundary{gateway: newGateway(t), backends: startBackends(t), at: "127.0.0.1:" + loadtest.FreePorts(1)[0]}
	keys := filepath.Join(b.dir, "keys")
	if err := os.WriteFile(keys, []byte("billing old-key-of-billing\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port := b.at[strings.Index(b.at, ":"):]
	var sites strings.Builder
	for name, stance := range stances {
		if stance.site == "" {
			continue
		}
		for backend, at := range b.backends {
			text := strings.NewReplacer("BACKEND", at, "KEYS", keys, "ISSUER", b.url, "GATEWAY", b.at).
				Replace(stance.site)
			fmt.Fprintf(&sites, "http://%s {\n%s\n}\n", b.host(name, backend), text)
		}
	}
	fmt.Fprintf(&sites, "http://forwarded.test%s {\ndevice_auth\nheader >Remote-User {http.auth.user.id}\n"+
		"respond 204\n}\n", port)
	b.configure(func(s string) string {
		s = strings.Replace(s, "default_bind 127.0.0.1",
			"default_bind 127.0.0.1\n\tservers {\n\t\tprotocols h1 h2c\n\t}", 1)
		return strings.Replace(s, "\tbrand", "\t"+edgeClient+"\n\t\tbrand", 1) + sites.String()
	})
	b.addJSON()
	b.start()
	b.token = b.gateway.token()
	return b
}

// addJSON makes the configuration JSON, and adds the stances that are JSON.
func (b *boundary) addJSON() {
	b.t.Helper()
	text, err := b.command("adapt", "--config", b.config).Output()
	if err != nil {
		b.t.Fatal(err)
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		b.t.Fatal(err)
	}
	for _, server := range config["apps"].(map[string]any)["http"].(map[string]any)["servers"].(map[string]any) {
		server := server.(map[string]any)
		if !strings.HasSuffix(server["listen"].([]any)[0].(string), b.at[strings.Index(b.at, ":"):]) {
			continue
		}
		server["automatic_https"] = map[string]any{"disable": true}
		for name, stance := range stances {
			for backend, at := range b.backends {
				if stance.json == "" {
					continue
				}
				var routes []any
				if err := json.Unmarshal([]byte(strings.ReplaceAll(stance.json, "BACKEND", at)), &routes); err != nil {
					b.t.Fatal(name, err)
				}
				host, _, _ := strings.Cut(b.host(name, backend), ":")
				server["routes"] = append(server["routes"].([]any), map[string]any{
					"match":    []any{map[string]any{"host": []string{host}}},
					"handle":   []any{map[string]any{"handler": "subroute", "routes": routes}},
					"terminal": true,
				})
			}
		}
	}
	if text, err = json.Marshal(config); err != nil {
		b.t.Fatal(err)
	}
	b.config = filepath.Join(b.dir, "boundary.json")
	if err := os.WriteFile(b.config, text, 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// A wire is a connection on which requests are written as bytes.
type wire struct {
	t    *testing.T
	at   string
	conn net.Conn
	in   *bufio.Reader
}

// send writes a request, and returns the status and body of the answer. The
// server may close the connection after it.
func (w *wire) send(request string) (status int, body string) {
	w.t.Helper()
	for try := 0; ; try++ {
		if w.conn == nil {
			conn, err := net.Dial("tcp", w.at)
			if err != nil {
				w.t.Fatal(err)
			}
			w.t.Cleanup(func() { conn.Close() })
			w.conn, w.in = conn, bufio.NewReader(conn)
		}
		w.conn.SetDeadline(time.Now().Add(20 * time.Second))
		io.WriteString(w.conn, request)
		method, _, _ := strings.Cut(request, " ")
		response, err := http.ReadResponse(w.in, &http.Request{Method: method})
		if err == nil {
			text, err := io.ReadAll(response.Body)
			if err != nil {
				w.t.Fatalf("%q: %v", request, err)
			}
			if response.Close {
				w.close()
			}
			return response.StatusCode, string(text)
		}
		w.close()
		if try > 0 {
			w.t.Fatalf("%q: %v", request, err)
		}
	}
}

func (w *wire) close() {
	w.conn.Close()
	w.conn = nil
}

// lies are what an attacker says of themselves.
const lies = "Remote-User: root\r\nREMOTE-USER: root\r\nremote_user: root\r\nRemote.User: root\r\n" +
	"Remote-Groups: admins\r\nX-User: root\r\nx_user: root\r\n" +
	"Cookie: a=1; device_session=x; __Host-device_session.1=y; b=2\r\n" +
	"Cookie: device_flow=x; __Host-device_signin_abc=z; __Secure-device_signin_abc=z\r\n" +
	"Connection: keep-alive, Remote-User, remote-groups, X-User, X-Api-Key\r\nX-Original-URL: /v2/secret\r\n" +
	"X-Rewrite-URL: /v2/secret\r\nX-HTTP-Method-Override: DELETE\r\n"

// reached judges what a backend says reached it from somebody without a token.
func (b *boundary) reached(t *testing.T, name, request, body string) {
	t.Helper()
	var s seen
	if json.Unmarshal([]byte(body), &s) != nil || s.Headers == nil && s.Target == "" {
		return // it was not the backend that answered
	}
	if s.Secret && !stances[name].open || stances[name].tight {
		t.Errorf("%s: %.200q reached the backend as %q: %s", name, request, s.Target, body)
	}
	for i := 0; i+1 < len(s.Headers) && !stances[name].other; i += 2 {
		header, value := strings.ToLower(strings.NewReplacer("_", "-", ".", "-").Replace(s.Headers[i])), s.Headers[i+1]
		renamed := name == "renamed" || name == "two"
		switch {
		case value == "":
		case strings.HasPrefix(header, "remote-") && header != "remote-addr" &&
			header != "remote-port", header == "x-user" && renamed,
			header == "cookie" && strings.Contains(value, "device_"), header == "x-original-url",
			header == "x-rewrite-url", header == "x-http-method-override":
			if overrides := strings.HasPrefix(header, "x-") && header != "x-user"; overrides &&
				!strings.Contains(stances[name].site+stances[name].json, "/v2") && name != "not" && name != "celnot" {
				continue
			}
			t.Errorf("%s: %.200q told the backend %s: %s", name, request, header, value)
		}
	}
}

func each(t *testing.T, b *boundary, do func(t *testing.T, name, backend string)) {
	for name := range stances {
		for backend := range b.backends {
			t.Run(name+"/"+backend, func(t *testing.T) {
				t.Parallel()
				do(t, name, backend)
			})
		}
	}
}

// protocol 31, 33
func TestBoundaryHoldsForEverySpellingAndTarget(t *testing.T) {
	t.Parallel()
	b := startBoundary(t)
	n := 1200
	if testing.Short() {
		n = 300
	}
	paths := spellings(n)
	each(t, b, func(t *testing.T, name, backend string) {
		host, w := b.host(name, backend), &wire{t: t, at: b.at}
		ask := func(method, target string) (int, string) {
			request := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + lies + "\r\n"
			status, body := w.send(request)
			b.reached(t, name, request, body)
			if status >= 500 {
				t.Errorf("%s %s: %d", method, target, status)
			}
			return status, body
		}
		for _, path := range paths {
			ask("GET", stances[name].under+path)
		}
		if stances[name].other {
			return
		}
		for _, target := range targets(host) {
			for _, method := range []string{"GET", "OPTIONS", "CONNECT"} {
				status, body := ask(method, target)
				sites := !slices.Contains([]string{"errors", "handle", "handlepath"}, name) && method != "CONNECT" &&
					strings.Contains(target, host)
				if sites && status != http.StatusBadRequest {
					t.Errorf("%s %s: %d %s, want 400", method, target, status, body)
				}
			}
		}
	})
}

// protocol 31, 33
func TestBoundaryLetsInWhoMayComeIn(t *testing.T) {
	t.Parallel()
	b := startBoundary(t)
	each(t, b, func(t *testing.T, name, backend string) {
		host, w := b.host(name, backend), &wire{t: t, at: b.at}
		headers := lies
		if stances[name].other { // where Connection takes off what forward_auth put there
			headers = "Remote-User: root\r\n"
		}
		path := stances[name].under + "/v2/secret"
		request := "GET " + path + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + b.token +
			"\r\n" + headers + "\r\n"
		status, body := w.send(request)
		ours := !stances[name].other && strings.Contains(body, "device_")
		if status != http.StatusOK || !strings.Contains(body, `"secret":true`) ||
			!strings.Contains(body, `"alice"`) || ours {
			t.Errorf("%q: %d %s", request, status, body)
		}
		if strings.Contains(strings.ReplaceAll(strings.ToLower(body), "_", "-"), `"remote-user","root"`) ||
			name == "renamed" && strings.Contains(body, `"root"`) {
			t.Errorf("%q: somebody else too: %s", request, body)
		}
	})
}

// protocol 31
func TestBoundaryLeavesTheRestOpen(t *testing.T) {
	t.Parallel()
	b := startBoundary(t)
	each(t, b, func(t *testing.T, name, backend string) {
		if stances[name].tight || name == "handle" {
			return
		}
		w := &wire{t: t, at: b.at}
		for _, path := range []string{"/open/x", "/open/page.html?a=b/../c", "/open/a.b/v1.2", "/open/f%C3%BCr"} {
			status, body := w.send("GET " + stances[name].under + path + " HTTP/1.1\r\nHost: " + b.host(name, backend) +
				"\r\nCookie: a=1; device_session=x; b=2\r\n\r\n")
			if status != http.StatusOK || !strings.Contains(body, `"a=1; b=2"`) {
				t.Errorf("%s: %d %s", path, status, body)
			}
		}
	})
}

// protocol 33: what Connection names is not taken off behind the guard.
func TestBoundaryKeepsWhatTheGuardSaid(t *testing.T) {
	t.Parallel()
	b := startBoundary(t)
	for backend := range b.backends {
		w := &wire{t: t, at: b.at}
		for name, credentials := range map[string]string{"plain": "Authorization: Bearer " + b.token,
			"edge": "Authorization: Bearer " + b.token, "renamed": "Authorization: Bearer " + b.token,
			"keys": "X-Api-Key: old-key-of-billing"} {
			request := "GET /v2/secret HTTP/1.1\r\nHost: " + b.host(name, backend) + "\r\n" + credentials +
				"\r\nConnection: close, Remote-User, X-User,\tremote-client\r\nConnection: X-Api-Key\r\n\r\n"
			want := map[string]string{"renamed": `"X-User","alice"`, "keys": "billing"}[name]
			if backend == "nginx" && name == "keys" {
				continue // it tells nothing of Remote-Client
			}
			if want == "" {
				want = `"Remote-User","alice"`
			}
			if status, body := w.send(request); status != http.StatusOK ||
				!strings.Contains(strings.ReplaceAll(strings.ToLower(body), "_", "-"), strings.ToLower(want)) {
				t.Errorf("%s: %q: %d %s", backend, request, status, body)
			}
		}
	}
}

// protocol 33
func TestBoundaryOfTrailers(t *testing.T) {
	t.Parallel()
	b := startBoundary(t)
	for _, backend := range []string{"go", "node"} {
		for _, name := range []string{"optional", "plain", "edge"} {
			w := &wire{t: t, at: b.at}
			request := "POST /open/x HTTP/1.1\r\nHost: " + b.host(name, backend) +
				"\r\nTransfer-Encoding: chunked\r\nTrailer: Remote-User, X-Honest, Authorization\r\n\r\n" +
				"1\r\nx\r\n0\r\nRemote-User: root\r\nremote_user: root\r\nAuthorization: Bearer x\r\nCookie: a=b\r\n" +
				"X-Honest: yes\r\n\r\n"
			status, body := w.send(request)
			if status != http.StatusOK || strings.Contains(body, "root") || strings.Contains(body, "Bearer") ||
				!strings.Contains(body, `"X-Honest","yes"`) {
				t.Errorf("%s/%s: %d %s", name, backend, status, body)
			}
		}
	}
}
