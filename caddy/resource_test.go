package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// described asks a site what it says of a path (RFC 9728 §3).
func described(t *testing.T, site, path string) (status int, resource string, scopes []string) {
	t.Helper()
	response, err := http.Get(site + "/.well-known/oauth-protected-resource" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var document struct {
		Resource string   `json:"resource"`
		Scopes   []string `json:"scopes_supported"`
	}
	if err := json.NewDecoder(response.Body).Decode(&document); err != nil {
		t.Fatal(err)
	}
	slices.Sort(document.Scopes)
	return response.StatusCode, document.Resource, document.Scopes
}

// protocol 9, 30, 34: each site describes what its own guards guard, and no
// other site's, under names for which the server gives tokens.
func TestSitesDescribeTheirOwnPaths(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	free := loadtest.FreePorts(2)
	api, files := "http://localhost:"+free[0], "http://localhost:"+free[1]
	g.configure(func(s string) string {
		s = strings.Replace(s, "\tbrand", "\taudience "+api+" "+files+"/v2 "+g.url+
			"\n\t\tclient all {\n\t\t\tscopes offline_access a:read a:write admin b\n\t\t}\n\t\tbrand", 1)
		return s + sitesWithPaths(api, files)
	})
	g.start()
	for _, test := range []struct {
		site, path, scopes string // no scopes: none is named; 404: there is no description
	}{
		{api, "", "a:read a:write admin"},
		{api, "/", "a:read a:write admin"},
		{api, "/products", "a:read a:write"},
		{api, "/products/17", "a:read a:write"},
		{api, "/inside", "admin"},
		{api, "/inside/admin/x", "admin"},
		{api, "/inside/else", ""},
		{api, "/elsewhere", ""},
		{files, "/v2", "b"},
		{files, "/v2/x", "b"},
		{files, "/v2/public", ""},
		{files, "", "404"},
		{files, "/v22", "404"},
		{files, "/products", "404"},
		{g.url, "/api/products", "products:read"},
	} {
		status, resource, scopes := described(t, test.site, test.path)
		if test.scopes == "404" {
			if status != http.StatusNotFound {
				t.Errorf("%s%s: %d %q, want none", test.site, test.path, status, resource)
			}
			continue
		}
		if status != http.StatusOK || resource != test.site+test.path || strings.Join(scopes, " ") != test.scopes {
			t.Errorf("%s%s: %d %q with %q, want scopes %q", test.site, test.path, status, resource, scopes, test.scopes)
		}
		g.takesResource(resource)
	}
	wantChallenge(t, g.url, api)
	if !strings.Contains(g.log.String(), "serving initial") || strings.Contains(g.log.String(), "RFC 9728") {
		t.Errorf("a warning without a cause:\n%s", g.log)
	}
}

// protocol 34
func TestSiteThatNoTokenIsForIsWarnedAbout(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	site := "other.localhost:" + loadtest.FreePorts(1)[0]
	g.configure(func(s string) string { return s + "\nhttp://" + site + " {\n\tdevice_auth\n\trespond x\n}\n" })
	g.start()
	if !strings.Contains(g.log.String(), "audience https://other.localhost") {
		t.Errorf("no warning:\n%s", g.log)
	}
}

// The terminal client asks for a token for the API that it was given, which is not
// always the server's default, and finds the server of one that no audience covers.
func TestTerminalClientAsksForTheAPIByItsName(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	free := loadtest.FreePorts(2)
	second, uncovered := "http://localhost:"+free[0], "http://localhost:"+free[1]
	g.configure(func(s string) string {
		s = strings.Replace(s, "\tbrand", "\taudience "+g.url+" "+second+"/v2\n\t\tbrand", 1)
		return s + "\n" + second + " {\n\tdevice_auth /v2/* {\n\t\taudience " + second +
			"/v2\n\t}\n\trespond \"the second\"\n}\n" +
			uncovered + " {\n\tdevice_auth {\n\t\taudience " + g.url + "\n\t}\n\trespond \"the third\"\n}\n"
	})
	g.start()
	calls := func(address, header, want string) {
		t.Helper()
		r, err := http.NewRequest(http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", strings.TrimSpace(strings.TrimPrefix(header, "Authorization: ")))
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK ||
			string(body) != want {
			t.Errorf("%s: %d %v %s", address, response.StatusCode, err, body)
		}
	}
	header, err := g.loginAt(second+"/v2/products", allowTerminal(t), "--no-qr")
	if err != nil {
		t.Fatal(err)
	}
	calls(second+"/v2/products", header, "the second")
	again, err := g.loginAt(second+"/v2/other", nil, "--no-qr") // the same token is for all of /v2
	if err != nil || again != header {
		t.Errorf("another path of the API: %v", err)
	}
	if header, err = g.loginAt(uncovered+"/x", allowTerminal(t), "--no-qr"); err != nil {
		t.Fatal(err)
	}
	calls(uncovered+"/x", header, "the third")
}

// sitesWithPaths are two sites whose paths need different scopes.
func sitesWithPaths(api, files string) string {
	return `
` + api + ` {
device_auth /products/* a:read {
	audience ` + api + `
}
@writes {
	path /products/*
	not method GET HEAD OPTIONS
}
device_auth @writes a:write {
	audience ` + api + `
}
handle_path /inside/* {
	device_auth /admin/* admin {
		audience ` + api + `
	}
	respond inside
}
respond here
}
` + files + ` {
@guarded not path /v2/public /v2/public/*
device_auth @guarded b {
	audience ` + files + `/v2
}
respond here
}
`
}

// takesResource checks that a device may ask for a resource (RFC 8707).
func (g *gateway) takesResource(resource string) {
	g.t.Helper()
	var code struct {
		Device string `json:"device_code"`
		Error  string `json:"error_description"`
	}
	if g.post("/oauth2/device_authorization", url.Values{"client_id": {"all"}, "resource": {resource}},
		&code); code.Device == "" {
		g.t.Errorf("the server does not take %s: %s", resource, code.Error)
	}
}

// wantChallenge checks that a guard's challenge names the description of its site.
func wantChallenge(t *testing.T, issuer, api string) {
	t.Helper()
	response, err := http.Get(api + "/products/17")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	want := `Bearer realm="` + issuer + `", scope="a:read", resource_metadata="` + api +
		`/.well-known/oauth-protected-resource"`
	if got := response.Header.Get("WWW-Authenticate"); got != want {
		t.Errorf("challenge %s, want %s", got, want)
	}
}
