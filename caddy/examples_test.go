package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// An example is one of examples/caddyfiles, on this machine: its hosts are
// ports of localhost, its provider one for tests, its backend a mirror.
type example struct {
	*gateway
	client  string
	backend *httptest.Server
}

// hosts are those that the examples name. Each has a port of its own.
var hosts = []string{"api.example.com", "files.example.com", "login.example.net", "connect.example.com"}

func startExample(t *testing.T, name, client string, change func(string) string, env ...string) *example {
	t.Helper()
	idp := idptest.Start()
	t.Cleanup(idp.Close)
	idp.Behave(idptest.Behaviour{Claims: map[string]any{"groups": []string{"dashboards"}, "preferred_username": "alice",
		"email": "alice@example.com", "email_verified": true}})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "user=%s client=%s scopes=%s basic=%s:%s", r.Header.Get("Remote-User"),
			r.Header.Get("Remote-Client"), r.Header.Get("Remote-Scopes"), user, password)
	}))
	t.Cleanup(backend.Close)
	text := exampleText(t, name)
	g := newGateway(t)
	g.env = append(env, "OIDC_CLIENT_ID="+idptest.ClientID, "OIDC_CLIENT_SECRET="+idptest.ClientSecret,
		"EDGE_SECRET=only-for-this-test",
		"LEGACY_BASIC="+base64.StdEncoding.EncodeToString([]byte("gateway:secret")))
	local := []string{"https://login.example.com", idp.URL, "legacy:8080", address(backend)}
	for i, host := range hosts {
		at := []string{g.url, g.upstream, g.legacy, g.legacy}[i]
		local = append(local, "http://"+host, at, "https://"+host, at, "\n"+host+" {", "\n"+at+" {")
	}
	caddyfile := change(strings.NewReplacer(local...).Replace(text))
	global := "admin " + g.admin + "\n\tdefault_bind 127.0.0.1\n"
	if inside := strings.Replace(caddyfile, "\n{\n", "\n{\n\t"+global, 1); inside != caddyfile {
		caddyfile = inside
	} else {
		caddyfile = "{\n\t" + global + "}\n" + caddyfile
	}
	if err := os.WriteFile(g.config, []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start()
	return &example{gateway: g, client: client, backend: backend}
}

// exampleText is one of examples/caddyfiles, or the ten lines of README.md.
func exampleText(t *testing.T, name string) string {
	t.Helper()
	file := "../examples/caddyfiles/" + name + ".caddyfile"
	if name == "README" {
		file = "../README.md"
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if name == "README" {
		_, block, _ := strings.Cut(string(text), "```caddyfile\n")
		block, _, found := strings.Cut(block, "```")
		if !found {
			t.Fatal("README.md has no Caddyfile")
		}
		return "# The README's ten lines.\n" + block
	}
	return string(text)
}

func same(s string) string { return s }

// issuer is the host of the endpoints and pages, which no example shares with an
// API: connect.example.com or login.example.net.
func (e *example) issuer() *gateway {
	issuer := *e.gateway
	issuer.url = e.legacy
	return &issuer
}

// login connects a device at the issuer, and returns its access token.
func (e *example) login(form url.Values) string {
	e.t.Helper()
	server := e.issuer()
	d := &device{t: e.t, g: server, client: e.client}
	form.Set("client_id", e.client)
	server.post("/oauth2/device_authorization", form, d)
	p := newPerson(e.t, "")
	p.open(d.Page)
	p.submit("/device", "user_code", d.User)
	if strings.Contains(p.page, "Sign in again") {
		p.open(regexp.MustCompile(`href="([^"]*fresh=1[^"]*)"`).
			FindStringSubmatch(strings.ReplaceAll(p.page, "&amp;", "&"))[1])
	}
	p.submit("/device/confirm", "answer", "allow")
	p.sees("is connected")
	answer := d.poll()
	if answer.Access == "" {
		e.t.Fatalf("no token: %+v", answer)
	}
	return answer.Access
}

// wants asks for a path, and wants a status and a text of the mirror's.
func (e *example) wants(method, address, token string, status int, text string) {
	e.t.Helper()
	r, err := http.NewRequest(method, address, nil)
	if err != nil {
		e.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	e.sends(r, status, text)
}

func (e *example) sends(r *http.Request, status int, text string) {
	e.t.Helper()
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	body := new(strings.Builder)
	if err := response.Write(body); err != nil {
		e.t.Fatal(err)
	}
	if response.StatusCode != status || !strings.Contains(body.String(), text) {
		e.t.Errorf("%s %s: %s, want %d and %q in\n%s", r.Method, r.URL, response.Status, status, text, body)
	}
}

// protocol 33
func TestExamples(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../examples/caddyfiles/*.caddyfile")
	if err != nil || len(files) != len(exampleTests) {
		t.Errorf("%d examples and %d tests, %v", len(files), len(exampleTests), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".caddyfile")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if exampleTests[name] == nil {
				t.Fatal("nothing tests it")
			}
			exampleTests[name](t)
		})
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if formatted := caddyfile.Format(text); string(formatted) != string(text) {
			t.Errorf("caddy fmt would have %s\n%s", file, formatted)
		}
	}
}

// exampleTests are the tests of the examples, by the names of their files.
var exampleTests = map[string]func(t *testing.T){
	"minimal":              minimalExample,
	"several-sites":        severalSitesExample,
	"legacy-basic":         legacyBasicExample,
	"per-path-scopes":      perPathScopesExample,
	"browsers-and-devices": browsersAndDevices,
	"websocket":            websocketExample,
	"load-balancer":        loadBalancerExample,
	"grafana":              grafanaExample,
	"mcp":                  mcpExample,
	"edge":                 edgeExample,
}

func minimalExample(t *testing.T) {
	e := startExample(t, "minimal", "cool-gadget", same)
	e.wants("GET", e.url+"/x", "", 401, "resource_metadata")
	e.wants("GET", e.url+"/x", e.login(url.Values{}), 200, "user=1 client=cool-gadget")
}

func severalSitesExample(t *testing.T) {
	e := startExample(t, "several-sites", "cool-gadget", same)
	api := e.login(url.Values{"audience": {e.url}})
	e.wants("GET", e.url+"/x", api, 200, "user=1")
	e.wants("GET", e.upstream+"/x", api, 401, "invalid_token")
	e.wants("GET", e.upstream+"/x", e.login(url.Values{"resource": {e.upstream}}), 200, "user=1")
}

func legacyBasicExample(t *testing.T) {
	e := startExample(t, "legacy-basic", "cool-gadget", same)
	e.wants("GET", e.url+"/x", e.login(url.Values{}), 200, "basic=gateway:secret")
}

func perPathScopesExample(t *testing.T) {
	e := startExample(t, "per-path-scopes", "cool-gadget", same)
	reads := e.login(url.Values{})
	e.wants("GET", e.url+"/products/1", reads, 200, "user=1")
	e.wants("PUT", e.url+"/products/1", reads, 403, `scope="products:write"`)
	e.wants("GET", e.url+"/status", "", 200, "user= ")
	for _, path := range []string{"/products", "/products/1", "/admin/users", "/", "/status/x",
		"/x/..;/status"} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			e.wants(method, e.url+path, "",
				map[bool]int{true: 400, false: 401}[strings.Contains(path, "..")], "")
		}
	}
	e.wants("POST", e.url+"/products", reads, 403, `scope="products:write"`)
	e.client = "till"
	e.wants("PUT", e.url+"/products/1", e.login(url.Values{}), 200, "client=till")
}

func websocketExample(t *testing.T) {
	e := startExample(t, "websocket", "cool-gadget", same)
	r, err := http.NewRequest("GET", e.url+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("x", e.login(url.Values{}))
	e.sends(r, 200, "user=1")
}

func loadBalancerExample(t *testing.T) {
	// The site has a second name, and the balancer is on this machine.
	e := startExample(t, "load-balancer", "cool-gadget", func(s string) string {
		s = strings.Replace(s, "10.0.0.11/32", "10.0.0.11/32 127.0.0.1/32", 1)
		return regexp.MustCompile(`(?m)^http://localhost(:\d+) \{`).
			ReplaceAllString(s, "http://localhost$1, http://other.example.com$1 {")
	}, "REDIS_URL="+redistest.Start(t).URL())
	e.wants("GET", e.url+"/x", e.login(url.Values{}), 200, "user=1")
	r, err := http.NewRequest("POST", e.issuer().url+"/oauth2/device_authorization",
		strings.NewReader("client_id=cool-gadget"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// the client says the first, the balancer the second
	r.Header.Set("X-Forwarded-For", "10.20.0.1, 192.0.2.7")
	e.sends(r, 200, "user_code")
	r, err = http.NewRequest("GET", e.url+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Host = "other.example.com" // which the balancer serves by https
	r.Header.Set("X-Forwarded-Proto", "https")
	e.sends(r, 401, `resource_metadata="https://other.example.com/`)
	if from := e.grants("state=pending")[0].From; from != "192.0.2.7" {
		t.Errorf("a device chooses its own address: %s", from)
	}
}

func grafanaExample(t *testing.T) {
	e := startExample(t, "grafana", "wall", same)
	e.wants("GET", e.url+"/api/search", e.login(url.Values{}), 200, "user=alice@example.com")
}

func mcpExample(t *testing.T) {
	e := startExample(t, "mcp", "assistant", same)
	e.wants("POST", e.url+"/mcp", "", 401,
		`resource_metadata="`+e.url+`/.well-known/oauth-protected-resource/mcp"`)
	e.wants("GET", e.url+"/.well-known/oauth-protected-resource/mcp", "", 200, `"resource":"`+e.url+`/mcp"`)
	e.wants("GET", e.url+"/other", "", 401, "")
	e.wants("POST", e.url+"/mcp", e.login(url.Values{"resource": {e.url + "/mcp"}}), 200,
		"client=assistant scopes=offline_access tools:use")
}

func edgeExample(t *testing.T) {
	server := startWith(t, edgeClient)
	e := startExample(t, "edge", "", func(s string) string {
		return regexp.MustCompile(`issuer http\S+`).ReplaceAllString(s, "issuer "+server.url)
	})
	e.wants("GET", e.url+"/x", "", 401, "resource_metadata")
	e.wants("GET", e.url+"/x", server.token(), 200, "user=alice")
}
