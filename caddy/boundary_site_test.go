package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
	"github.com/deviceauth/caddy-deviceauth/internal/needs"
)

// What surrounds a guard in its site: error routes, caches, blocks, and what
// stands before and behind it.

// startSites runs the root Caddyfile's gateway with further sites, in which
// BACKEND is the address of a backend that answers with a handler.
func startSites(t *testing.T, handler http.HandlerFunc, sites map[string]string) (*gateway, map[string]*wire) {
	t.Helper()
	backend := httptest.NewServer(handler)
	t.Cleanup(backend.Close)
	g := newGateway(t)
	wires := map[string]*wire{}
	var text strings.Builder
	for name, site := range sites {
		at := "127.0.0.1:" + loadtest.FreePorts(1)[0]
		wires[name] = &wire{t: t, at: at}
		fmt.Fprintf(&text, "http://%s {\n%s\n}\n", strings.Replace(at, "127.0.0.1", "localhost", 1),
			strings.NewReplacer("BACKEND", address(backend), "DIR", g.dir, "ISSUER", g.url, "SITE",
				"http://"+strings.Replace(at, "127.0.0.1", "localhost", 1)).Replace(site))
	}
	g.configure(func(s string) string { return s + text.String() })
	g.start()
	return g, wires
}

// get asks for a path of a site.
func (w *wire) get(path, token string) (status int, body string) {
	authorization := ""
	if token != "" {
		authorization = "Authorization: Bearer " + token + "\r\n"
	}
	return w.send("GET " + path + " HTTP/1.1\r\nHost: " + strings.Replace(w.at, "127.0.0.1", "localhost", 1) + "\r\n" +
		authorization + "\r\n")
}

// protocol 30: what was refused is not served by what answers errors.
func TestErrorRoutesGetNothingOfWhatWasRefused(t *testing.T) {
	t.Parallel()
	files := secretFiles(t)
	var asked []string
	handler := func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.RequestURI+r.Header.Get("Authorization")+r.Header.Get("X-Original-Url")+
			r.Header.Get("Destination"))
		io.WriteString(w, "error page")
	}
	g, wires := startSites(t, handler, map[string]string{
		"files": "root " + files + "\ndevice_auth\nfile_server\nhandle_errors {\nfile_server\n}",
		"codes": "root " + files + "\ndevice_auth\nfile_server\nhandle_errors 401 403 {\nfile_server\n}",
		"page": "root " + files + "\ndevice_auth\nfile_server\nhandle_errors {\n" +
			"rewrite * /{err.status_code}.html\nfile_server\n}",
		"proxy": "device_auth\nreverse_proxy BACKEND\nhandle_errors {\nreverse_proxy BACKEND\n}",
		"words": "device_auth\nreverse_proxy BACKEND\nhandle_errors {\nrespond \"no {http.request.orig_uri}\"\n}",
		"other": "device_auth {\naudience https://other.example\n}\nreverse_proxy BACKEND\nhandle_errors {\n" +
			"reverse_proxy BACKEND\n}",
		"unknown": "device_auth products:write\nreverse_proxy BACKEND\nhandle_errors {\nreverse_proxy BACKEND\n}",
	})
	for _, name := range []string{"files", "codes"} {
		for _, path := range []string{"/v2/secret", "/", "/v2/secret?x=/v2/secret", "/./v2/secret",
			"a:http://localhost/v2/secret"} {
			if status, body := wires[name].get(path, ""); status != 401 && status != 400 ||
				strings.Contains(body, "secret") {
				t.Errorf("%s: %s: %d %q", name, path, status, body)
			}
		}
		if status, body := wires[name].get("/v2/secret", g.token()); status != 200 || body != "the secret" {
			t.Errorf("%s: with a token: %d %q", name, status, body)
		}
	}
	if status, body := wires["page"].get("/v2/secret", ""); status != 401 || body != "please sign in" {
		t.Errorf("its own page: %d %q", status, body)
	}
	wires["proxy"].send("GET /v2/secret?a=b HTTP/1.1\r\nHost: " + strings.Replace(wires["proxy"].at, "127.0.0.1",
		"localhost", 1) + "\r\nX-Original-URL: /v2/secret\r\nDestination: /v2/secret\r\n\r\n")
	wires["unknown"].get("/v2/secret?a=b", g.token())
	wires["other"].get("/v2/secret", g.token())
	host := strings.Replace(wires["proxy"].at, "127.0.0.1", "localhost", 1)
	wires["proxy"].get("http://"+host+"/v2/secret", g.token()) // a target that is no path
	if strings.Join(asked, " ") != "/.device_auth/401 /.device_auth/403 /.device_auth/401 /.device_auth/400" {
		t.Errorf("the backend was asked for %q", asked)
	}
	if _, body := wires["words"].get("/v2/secret?a=b", ""); body != "no /v2/secret?a=b" {
		t.Errorf("the page says %q", body)
	}
}

// protocol 31
func TestSharedCachesKeepNothingOfWhoWasLetIn(t *testing.T) {
	t.Parallel()
	sent := http.Header{}
	handler := func(w http.ResponseWriter, r *http.Request) {
		for name, values := range sent {
			w.Header()[name] = values
		}
		if strings.HasPrefix(r.URL.Path, "/down/") && r.Header.Get("X-Error-Page") == "" {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "for %s", r.Header.Get("Remote-User"))
	}
	g, wires := startSites(t, handler, map[string]string{
		"site": "@in path /in/* /down/*\ndevice_auth @in\ndevice_auth /maybe/* {\noptional\n}\n" +
			"device_auth /keep/* {\ncache keep\n}\nreverse_proxy BACKEND\nhandle_errors {\nreverse_proxy BACKEND {\n" +
			"header_up X-Error-Page yes\n}\n}",
	})
	token, url := g.token(), "http://"+strings.Replace(wires["site"].at, "127.0.0.1", "localhost", 1)
	for _, test := range cacheCases {
		sent = test.sent
		r, err := http.NewRequest("GET", url+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if test.token {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		for _, name := range []string{"Cache-Control", "Vary", "X-Accel-Expires", "Surrogate-Control",
			"Cdn-Cache-Control"} {
			got, want := strings.Join(response.Header[name], ", "), strings.Join(test.want[name], ", ")
			if got != want {
				t.Errorf("%s after %v: %s: %q, want %q", test.path, test.sent, name, got, want)
			}
		}
	}
}

// A real cache before the gateway gives nobody what was another's.
func TestCacheBeforeTheGatewayKeepsPersonsApart(t *testing.T) {
	t.Parallel()
	nginx := needs.Program(t, "nginx", "nginx")
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "public, max-age=60, s-maxage=60")
		w.Header().Set("X-Accel-Expires", "60")
		fmt.Fprintf(w, "for [%s]", r.Header.Get("Remote-User"))
	}
	g, wires := startSites(t, handler,
		map[string]string{"site": "device_auth /v2/* {\noptional\n}\nreverse_proxy BACKEND"})
	dir, port := t.TempDir(), loadtest.FreePorts(1)[0]
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	host := strings.Replace(wires["site"].at, "127.0.0.1", "localhost", 1)
	config := strings.NewReplacer("DIR", dir, "PORT", port, "SITE", wires["site"].at, "HOST", host).
		Replace(`daemon off; master_process off; user root; pid DIR/nginx.pid; error_log stderr crit; events {}
		http { access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b; fastcgi_temp_path DIR/c;
		uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;
		proxy_cache_path DIR/cache keys_zone=all:1m;
		server { listen 127.0.0.1:PORT; location / { proxy_pass http://SITE; proxy_set_header Host HOST;
		proxy_cache all; proxy_cache_valid any 1m; } } }`)
	if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	front := &wire{t: t, at: startListening(t, "127.0.0.1:"+port,
		exec.Command(nginx, "-c", filepath.Join(dir, "nginx.conf"), "-p", dir, "-e", "stderr"))}
	token := g.token()
	for range 2 {
		for _, ask := range []struct{ token, want string }{{token, "for [alice]"}, {"", "for []"},
			{token, "for [alice]"}} {
			if _, body := front.get("/v2/x", ask.token); body != ask.want {
				t.Errorf("got %q, want %q", body, ask.want)
			}
		}
	}
}

// protocol 34
func TestGuardInABlockNamesADescriptionThatIsThere(t *testing.T) {
	t.Parallel()
	handler := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "for %s", r.Header.Get("Remote-User")) }
	g, wires := startSites(t, handler, map[string]string{
		"handle_path": "handle_path /api/* {\ndevice_auth {\naudience SITE ISSUER\n}\nreverse_proxy BACKEND\n}",
		"handle": "handle /api/* {\ndevice_auth {\naudience SITE ISSUER\n}\nreverse_proxy BACKEND\n}\nhandle {\n" +
			"respond elsewhere\n}",
		"route": "route {\ndevice_auth {\naudience SITE ISSUER\n}\nreverse_proxy BACKEND\n}",
		"top":   "device_auth {\naudience SITE ISSUER\n}\nreverse_proxy BACKEND",
	})
	token := g.token()
	for name, w := range wires {
		site := "http://" + strings.Replace(w.at, "127.0.0.1", "localhost", 1)
		response, err := http.Get(site + "/api/products?a=b")
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		_, metadata, _ := strings.Cut(response.Header.Get("WWW-Authenticate"), `resource_metadata="`)
		metadata, _, _ = strings.Cut(metadata, `"`)
		if response, err = http.Get(metadata); err != nil {
			t.Fatal(name, metadata, err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		block := map[string]string{"handle": "/api/products", "handle_path": "/api"}[name] // else all of the site
		if err != nil || response.StatusCode != 200 ||
			!strings.Contains(string(text), `"authorization_servers":["`+g.url+`"]`) ||
			!strings.Contains(string(text), `"resource":"`+site+block+`"`) {
			t.Errorf("%s: %s: %d %s", name, metadata, response.StatusCode, text)
		}
		if status, body := w.get("/api/x", token); status != 200 || body != "for alice" {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}

func TestGuardThatGuardsNothingIsWarnedAbout(t *testing.T) {
	t.Parallel()
	for site, want := range map[string]string{
		"route {\nreverse_proxy localhost:1\ndevice_auth\n}":                "is never reached",
		"route {\nrespond hello\ndevice_auth\nreverse_proxy localhost:1\n}": "is never reached",
		"device_auth": "guards nothing",
		"handle /api/* {\ndevice_auth\n}\nhandle {\nreverse_proxy localhost:1\n}":                "guards nothing",
		"device_auth\nreverse_proxy localhost:1":                                                 "",
		"device_auth\nhandle /a/* {\nfile_server\n}\nhandle {\nrespond x\n}":                     "",
		"route {\nrespond /health ok\ndevice_auth\nreverse_proxy localhost:1\n}":                 "",
		"handle /api/* {\ndevice_auth\nreverse_proxy localhost:1\n}\nhandle {\nrespond other\n}": "",
	} {
		g, _ := startSites(t, nil, map[string]string{"site": site})
		log := g.log.String()
		if want == "" && (strings.Contains(log, "is never reached") || strings.Contains(log, "guards nothing")) ||
			!strings.Contains(log, want) {
			t.Errorf("%s: want %q in\n%s", site, want, log)
		}
	}
}

func TestGuardInABlockIsWarnedAboutByTheAdapter(t *testing.T) {
	t.Parallel()
	for site, want := range map[string]bool{"handle /x/* {\ndevice_auth\n}": true, "route {\ndevice_auth\n}": true,
		"device_auth\nhandle /x/* {\nrespond x\n}": false} {
		g := newGateway(t)
		g.configure(func(s string) string { return s + "http://localhost:1 {\n" + site + "\n}\n" })
		out, err := g.run("adapt", "--config", g.config)
		if err != nil || strings.Contains(out, "device_auth in a block") != want {
			t.Errorf("%s: %v\n%s", site, err, out)
		}
	}
}

// protocol 31: a script is told what was asked for before it was rewritten.
func TestScriptBehindARewriteIsGuarded(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go fcgi.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "script for %s", r.URL.Path)
	}))
	at := listener.Addr().String()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "index.php"), []byte("<?php"), 0o644); err != nil {
		t.Fatal(err)
	}
	g, wires := startSites(t, nil, map[string]string{
		"before": "root * " + root + "\ntry_files {path} /index.php\ndevice_auth /v2/*\nphp_fastcgi " + at,
		"strip":  "root * " + root + "\nuri strip_prefix /v1\ndevice_auth /v1/v2/*\nphp_fastcgi " + at,
		"within": "root * " + root + "\ndevice_auth /v2/*\nphp_fastcgi " + at,
		"method": "root * " + root + "\n@writes method POST DELETE\ndevice_auth @writes\nphp_fastcgi " + at,
	})
	token := g.token()
	for _, name := range []string{"before", "within"} {
		for _, path := range []string{"/v2/secret", "/index.php/v2/secret", "/v2/secret?x", "/index.php?x=/v2/secret"} {
			status, body := wires[name].get(path, "")
			if status != http.StatusUnauthorized && !strings.HasPrefix(path, "/index.php?") ||
				strings.Contains(body, "/v2") {
				t.Errorf("%s: %s: %d %s", name, path, status, body)
			}
		}
		if status, body := wires[name].get("/v2/secret", token); status != http.StatusOK ||
			!strings.Contains(body, "script for /v2/secret") {
			t.Errorf("%s: with a token: %d %s", name, status, body)
		}
		if status, body := wires[name].get("/open", ""); status != http.StatusOK ||
			!strings.Contains(body, "script for /open") {
			t.Errorf("%s: open: %d %s", name, status, body)
		}
	}
	if status, body := wires["strip"].get("/v1/v2/secret", ""); status != http.StatusUnauthorized {
		t.Errorf("strip_prefix before the guard: %d %s", status, body)
	}
	w := wires["method"]
	for method, want := range map[string]int{"delete": 400, "DELETE": 401, "Post": 400, "GET": 200} {
		if status, body := w.send(method + " /x HTTP/1.1\r\nHost: " +
			strings.Replace(w.at, "127.0.0.1", "localhost", 1) + "\r\n\r\n"); status != want {
			t.Errorf("%s: %d %s, want %d", method, status, body, want)
		}
	}
}

// protocol 33: after an upgrade to HTTP/2 no guard would see what is asked.
func TestUpgradeToHTTP2DoesNotReachTheBackend(t *testing.T) {
	t.Parallel()
	handler := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "upgrade=%q settings=%q connection=%q", r.Header.Get("Upgrade"), r.Header.Get("Http2-Settings"),
			r.Header.Get("Connection"))
	}
	_, wires := startSites(t, handler, map[string]string{"site": "device_auth /v2/*\nreverse_proxy BACKEND"})
	w := wires["site"]
	for _, upgrade := range []string{"h2c", "H2C", "HTTP/2.0", "TLS/1.0", "websocket, h2c", "SPDY/3.1"} {
		request := "GET /open HTTP/1.1\r\nHost: " + strings.Replace(w.at, "127.0.0.1", "localhost", 1) +
			"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + upgrade +
			"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
		if status, body := w.send(request); status != http.StatusOK || body != `upgrade="" settings="" connection=""` {
			t.Errorf("%s: %d %s", upgrade, status, body)
		}
	}
	for _, method := range []string{"OPTIONS", "POST", "BREW"} { // WebSocket begins with a GET
		request := method + " /open HTTP/1.1\r\nHost: " + strings.Replace(w.at, "127.0.0.1", "localhost", 1) +
			"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
		if status, body := w.send(request); status != http.StatusOK || body != `upgrade="" settings="" connection=""` {
			t.Errorf("%s: %d %s", method, status, body)
		}
	}
}

// secretFiles is a site with a page for errors and two files that are for devices alone.
func secretFiles(t *testing.T) (root string) {
	t.Helper()
	root = t.TempDir()
	for name, text := range map[string]string{"v2/secret": "the secret", "401.html": "please sign in",
		"index.html": "the secret index"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// cacheCases are the headers that a backend sends, and those that the guard makes of them.
var cacheCases = []struct {
	path  string
	sent  http.Header
	token bool
	want  http.Header
}{
	{"/in/x", nil, true, http.Header{"Cache-Control": {"private"}, "Vary": {"Authorization"}}},
	{"/in/x", http.Header{"Cache-Control": {"public, max-age=60", "s-maxage=600"}, "Vary": {"Accept"}}, true,
		http.Header{"Cache-Control": {"private, max-age=60"}, "Vary": {"Accept", "Authorization"}}},
	{"/in/x", http.Header{"Cache-Control": {"no-store"}, "Vary": {"*"}}, true,
		http.Header{"Cache-Control": {"no-store"}, "Vary": {"*"}}},
	{"/in/x", http.Header{"Cache-Control": {`Private="set-cookie, x", S-MAXAGE=5`}, "X-Accel-Expires": {"60"},
		"Surrogate-Control": {"max-age=60"}, "Cdn-Cache-Control": {"max-age=60"}}, true,
		http.Header{"Cache-Control": {"private"}, "Vary": {"Authorization"}}},
	{"/in/x", http.Header{"Cache-Control": {"PRIVATE, max-age=5"}, "Vary": {"authorization"}}, true,
		http.Header{"Cache-Control": {"PRIVATE, max-age=5"}, "Vary": {"authorization"}}},
	// RFC 9111 §4.2.1: the stricter one holds
	{"/down/x", http.Header{"Cache-Control": {"public, max-age=60"}}, true,
		http.Header{"Cache-Control": {"private", "public, max-age=60"}, "Vary": {"Authorization"}}},
	{"/maybe/x", http.Header{"Cache-Control": {"public, max-age=60"}}, false,
		http.Header{"Cache-Control": {"public, max-age=60"}, "Vary": {"Authorization"}}},
	{"/maybe/x", http.Header{"Cache-Control": {"public, max-age=60"}}, true,
		http.Header{"Cache-Control": {"private, max-age=60"}, "Vary": {"Authorization"}}},
	{"/keep/x", http.Header{"Cache-Control": {"public, max-age=60"}}, true,
		http.Header{"Cache-Control": {"public, max-age=60"}}},
	{"/open/x", http.Header{"Cache-Control": {"public, max-age=60"}}, false,
		http.Header{"Cache-Control": {"public, max-age=60"}}},
}

// Where a WebDAV request writes to is a path for some backends, whatever stands before it.
//
// protocol 31
func TestDestinationLeadsPastNoGuard(t *testing.T) {
	t.Parallel()
	handler := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Destination")) }
	_, wires := startSites(t, handler, map[string]string{
		"dav": "device_auth /v2/* products:read\nreverse_proxy BACKEND",
	})
	host := strings.Replace(wires["dav"].at, "127.0.0.1", "localhost", 1)
	for destination, want := range map[string]int{
		"/v2/x": 401, "//v2/x": 401, "///v2/x": 401, "/;/v2/x": 401, "//" + host + "/v2/x": 401,
		"http://" + host + "/v2/x": 401,
		`/\v2/x`:                   401, "/%2fv2/x": 401, "v2/x": 400, "/open/x": 200, "//open/x": 200,
		"/open?/../v2/x": 400, "/open#/../v2/x": 400,
	} {
		for _, method := range []string{"MOVE", "COPY", "PUT"} {
			status, body := wires["dav"].send(method + " /open HTTP/1.1\r\nHost: " + host +
				"\r\nDestination: " + destination + "\r\nContent-Length: 0\r\n\r\n")
			if status != want {
				t.Errorf("%s to %s: %d %q, want %d", method, destination, status, body, want)
			}
		}
	}
}

// guardsByHostAndMethod starts a gateway with guards that have such matchers.
func guardsByHostAndMethod(t *testing.T, backend string) *wire {
	t.Helper()
	g, port := newGateway(t), loadtest.FreePorts(1)[0]
	g.configure(func(s string) string {
		return s + "http://:" + port + ` {
			bind 127.0.0.1
			@api {
				host api.example.com
				method GET
			}
			device_auth @api products:read
			@named {
				header Host by.header
				method GET
			}
			device_auth @named products:read
			@monitored {
				host monitored.example.com
				not method HEAD
			}
			device_auth @monitored products:read
			@shared {
				host shared.example.com
				not query public=1
			}
			device_auth @shared products:read
			reverse_proxy ` + backend + `
		}
		`
	})
	g.start()
	return &wire{t: t, at: "127.0.0.1:" + port}
}

// Some servers end the host at its first colon, where a matcher compares all of it. HEAD is
// answered by what a GET does.
//
// protocol 31
func TestHostsAndMethodsLeadPastNoGuard(t *testing.T) {
	t.Parallel()
	handler := func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Host) }
	backend := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(backend.Close)
	w := guardsByHostAndMethod(t, address(backend))
	for host, want := range map[string]int{
		"by.header": 401, "BY.header": 401, "by.header:80": 401, "by.header:80:80": 400, "other.header": 200,
		"api.example.com": 401, "API.example.com:8080": 401, "api.example.com:": 401, "api.example.com.": 400,
		"api.example.com::": 400, "api.example.com:80:80": 400, "api.example.com:x": 400, "other.example.com": 200,
		"[::1]:80": 200,
	} {
		for _, method := range []string{"GET", "HEAD"} {
			status, body := w.send(method + " /x HTTP/1.1\r\nHost: " + host + "\r\n\r\n")
			if status != want {
				t.Errorf("%s of %s: %d %q, want %d", method, host, status, body, want)
			}
		}
	}
	for method, want := range map[string]int{"GET": 401, "HEAD": 200} {
		if status, _ := w.send(method + " /x HTTP/1.1\r\nHost: monitored.example.com\r\n\r\n"); status != want {
			t.Errorf("%s where HEAD is exempt: %d, want %d", method, status, want)
		}
	}
	for target, want := range map[string]int{"/x": 401, "/x?public=1": 200, "/x?public=0&public=1": 401,
		"/x?public=1&public=0": 401} {
		if status, _ := w.send("GET " + target + " HTTP/1.1\r\nHost: shared.example.com\r\n\r\n"); status != want {
			t.Errorf("%s: %d, want %d", target, status, want)
		}
	}
	if status, _ := w.send("POST /x HTTP/1.1\r\nHost: api.example.com\r\nContent-Length: 0\r\n\r\n"); status != 200 {
		t.Errorf("POST: %d, want 200: the guard is for GET", status)
	}
}
