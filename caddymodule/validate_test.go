package caddymodule

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// right is a correct Caddyfile with one line of a client that the test chooses.
func right(line string) string {
	client := "\t\tclient c {\n\t\t\t" + line + "\n\t\t}\n\t\tstore memory\n\t}\n}\n"
	return strings.Replace(rightOption, "\t}\n}\n", client, 1)
}

// validated is the error of a configuration that is loaded as `caddy validate` does.
func validated(t *testing.T, text string) error {
	t.Helper()
	return caddy.Validate(configured(t, text))
}

func configured(t *testing.T, text string) *caddy.Config {
	t.Helper()
	var c caddy.Config
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

// A fault of the server is reported at once, and not behind a list of the routes
// of the handler that needs the server.
func TestServerErrorIsReportedOnce(t *testing.T) {
	text, err := adapt(right("secret {env.NO_SUCH_VARIABLE}") +
		"http://localhost:8080 {\n\tdevice_login\n\thandle /v2/* {\n" +
		"\t\troute {\n\t\t\tdevice_auth\n\t\t\trespond ok\n\t\t}\n\t}\n}\n")
	if err != nil {
		t.Fatal(err)
	}
	for range 8 { // apps are loaded in any order
		err = validated(t, text)
		if err == nil {
			t.Fatal("it is loaded")
		}
		before, _, named := strings.Cut(err.Error(), "client c: secret")
		if !named || len(before) > 100 {
			t.Fatalf("%d characters stand before what is wrong: %v", len(before), err)
		}
	}
}

// What a Caddyfile may not say, JSON may not say either.
func TestJSONIsCheckedAsTheCaddyfileIs(t *testing.T) {
	const app = `{"admin":{"disabled":true},"apps":{"device_login":{
		"issuer":"https://connect.example.com","store":{"module":"memory"},
		"upstreams":[{"id":"a","issuer":"https://a.example","client_id":"x"%s}]%s}%s}}`
	for _, test := range []struct{ name, upstream, server, site, want string }{
		{"commas between a client's scopes", "", `,"clients":[{"id":"c","scopes":["a,b"]}]`, "", `scope "a,b"`},
		{"commas between an upstream's scopes", `,"scopes":["a,b"]`, "", "", `scope "a,b"`},
		{"a comma in a scope", "", `,"scopes":[{"name":"a,b","text":"A"}]`, "", `scope "a,b"`},
		{"a logo without TLS", "", `,"clients":[{"id":"c","logo":"http://a.example/x.svg"}]`, "",
			`logo "http://a.example/x.svg"`},
		{"commas between a guard's scopes", "", "",
			`,"http":{"servers":{"s":{"routes":[{"handle":[{"handler":"device_auth","scopes":["a,b"]}]}]}}}`,
			`scope "a,b"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(app, "%s", test.upstream, 1)
			text = strings.Replace(strings.Replace(text, "%s", test.server, 1), "%s", test.site, 1)
			if err := validated(t, text); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want %s in: %v", test.want, err)
			}
		})
	}
}
