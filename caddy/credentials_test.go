package main

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/needs"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// guardedBy runs a gateway whose guard has further lines.
func guardedBy(t *testing.T, lines string) *gateway {
	t.Helper()
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n"+lines+"\n\t}", 1)
	})
	g.start()
	return g
}

// A backend that has logins of its own keeps its Authorization header; the token
// comes in another one, and goes no further.
//
// protocol 30, 31
func TestTokenComesInAHeaderOfItsOwn(t *testing.T) {
	t.Parallel()
	g := guardedBy(t, "\t\ttoken_header X-Device-Token")
	token := g.token()
	for _, test := range []struct {
		name   string
		header http.Header
		status int
	}{
		{"alone", http.Header{"X-Device-Token": {token}}, 200},
		{"after its scheme", http.Header{"X-Device-Token": {"bearer " + token}}, 200},
		{"beside the backend's own", http.Header{"X-Device-Token": {token}, "Authorization": {"Basic eDp5"}}, 200},
		{"twice", http.Header{"X-Device-Token": {token, token}}, 400},
		{"where it is not looked for", http.Header{"Authorization": {"Bearer " + token}}, 401},
		{"in another spelling", http.Header{"X_Device_Token": {token}}, 401},
		{"another scheme", http.Header{"X-Device-Token": {"Basic " + token}}, 400},
		{"bad", http.Header{"X-Device-Token": {"x"}}, 401},
		{"empty", http.Header{"X-Device-Token": {""}}, 401},
	} {
		response, body := g.request("GET", "/api/products", test.header)
		if response.StatusCode != test.status {
			t.Errorf("%s: %d\n%s", test.name, response.StatusCode, body)
		}
		if test.status == 200 && (!strings.Contains(body, `"Authorization": "`+test.header.Get("Authorization")+`"`) ||
			strings.Contains(body, token)) {
			t.Errorf("%s: the backend sees %s", test.name, body)
		}
		if vary := response.Header.Values("Vary"); test.status == 200 && !slices.Contains(vary, "X-Device-Token") {
			t.Errorf("%s: Vary is %q", test.name, vary)
		}
	}
	for _, lines := range []string{"token_header Cookie", "token_header remote_user", "token_header X-A\n\t\tbasic",
		"token_header X-A\n\t\tlegacy x-a keys"} {
		g := newGateway(t)
		if err := os.WriteFile(filepath.Join(g.dir, "keys"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		g.configure(func(s string) string {
			return strings.Replace(s, "device_auth /api/* products:read", "device_auth /api/* {\n\t\t"+lines+"\n\t}", 1)
		})
		if out, err := g.run("validate", "--config", g.config); err == nil || !strings.Contains(out, "token_header") {
			t.Errorf("%s: %v\n%s", lines, err, out)
		}
	}
}

// A tool that sends a password only when it is asked for one is asked for one.
//
// protocol 30
func TestGuardWithBasicAsksForBasic(t *testing.T) {
	t.Parallel()
	g := guardedBy(t, "\t\tbasic")
	response, _ := g.request("GET", "/api/products", http.Header{})
	issuer, err := url.Parse(g.url)
	if err != nil {
		t.Fatal(err)
	}
	challenges := response.Header.Values("WWW-Authenticate")
	if len(challenges) != 2 || challenges[0] != `Basic realm="`+issuer.Host+`", charset="UTF-8"` ||
		!strings.HasPrefix(challenges[1], `Bearer realm="`+issuer.Host+`"`) {
		t.Errorf("the challenges are %q", challenges)
	}
	curl := needs.Program(t, "curl", "curl")
	out, err := exec.Command(curl, "-s", "--anyauth", "-u", "any:"+g.token(), g.url+"/api/products").Output()
	if err != nil || !strings.Contains(string(out), `"Remote-User": "alice"`) {
		t.Errorf("%v: curl --anyauth is answered %s", err, out)
	}
}

// A key of a machine opens what its scopes do, and is deprecated on no day.
//
// protocol 30
func TestKeysOfMachinesHaveScopes(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	keys := filepath.Join(g.dir, "keys")
	text := "any key-without-scopes\nreader key-of-reader products:read openid\nwriter key-of-writer products:write\n"
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\tlegacy X-Api-Key "+keys+"\n\t}", 1)
	})
	g.start()
	for key, want := range map[string]int{"key-without-scopes": 200, "key-of-reader": 200, "key-of-writer": 403} {
		response, body := g.request("GET", "/api/products", http.Header{"X-Api-Key": {key}})
		if response.StatusCode != want || response.Header.Get("Deprecation") != "" {
			t.Errorf("%s: %d %v\n%s", key, response.StatusCode, response.Header, body)
		}
		if want == 403 && !strings.Contains(response.Header.Get("WWW-Authenticate"), `error="insufficient_scope"`) {
			t.Errorf("%s: %v", key, response.Header)
		}
		if key == "key-of-reader" && !strings.Contains(body, `"Remote-Scopes": "products:read openid"`) {
			t.Errorf("the backend sees %s", body)
		}
	}
}

// A program that has no header but Authorization has a key that is all of it.
// Whoever has a token there is let in beside it, and nobody else.
//
// protocol 30
func TestKeyMayBeAllOfAuthorization(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	keys := filepath.Join(g.dir, "keys")
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("builder:key-of-builder"))
	text := fmt.Sprintf("scraper sha256:%x products:read\nbuilder sha256:%x products:read\n",
		sha256.Sum256([]byte("Bearer key-of-scraper")), sha256.Sum256([]byte(basic)))
	if err := os.WriteFile(keys, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	g.configure(func(s string) string {
		return strings.Replace(s, "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\tbasic\n\t\tlegacy Authorization "+keys+"\n\t}", 1)
	})
	g.start()
	for _, test := range []struct {
		given string
		want  int
		sees  []string
	}{
		{"Bearer key-of-scraper", 200,
			[]string{`"Remote-Client": "scraper"`, `"Remote-User": ""`, `"Authorization": "Bearer key-of-scraper"`}},
		{basic, 200, []string{`"Remote-Client": "builder"`, `"Remote-User": ""`}},
		{"Bearer " + g.token(), 200, []string{`"Remote-User": "alice"`, `"Authorization": ""`}},
		{"key-of-scraper", 401, nil},
		{"Basic " + base64.StdEncoding.EncodeToString([]byte("scraper:key-of-scraper")), 401, nil},
	} {
		response, body := g.request("GET", "/api/products",
			http.Header{"Authorization": {test.given}, "Remote-User": {"root"}})
		if response.StatusCode != test.want {
			t.Errorf("%s: %d\n%s", test.given, response.StatusCode, body)
		}
		for _, want := range test.sees {
			if !strings.Contains(body, want) {
				t.Errorf("%s: the backend sees %s, want %s", test.given, body, want)
			}
		}
	}
}

// Names beyond ASCII reach a backend that reads headers as Latin-1.
func TestNamesBeyondASCIIAreEncoded(t *testing.T) {
	t.Parallel()
	idp := idptest.Start()
	defer idp.Close()
	idp.Behave(idptest.Behaviour{Claims: map[string]any{"sub": "zoe", "name": "Zoë 100% 禁",
		"groups": []string{"a,b", "c d"}}})
	g := newGateway(t)
	g.configure(func(s string) string {
		return strings.Replace(at(idp, "")(s), "device_auth /api/* products:read",
			"device_auth /api/* products:read {\n\t\theader Remote-Name name encoded\n"+
				"\t\theader Remote-Groups groups encoded\n\t}", 1)
	})
	g.start()
	_, answer := connected(t, g)
	if _, body := g.api(answer.Access); !strings.Contains(body, `"Remote-Name": "Zo%C3%AB%20100%25%20%E7%A6%81"`) ||
		!strings.Contains(body, `"Remote-Groups": "a%2Cb,c%20d"`) {
		t.Errorf("the backend sees %s", body)
	}
}
