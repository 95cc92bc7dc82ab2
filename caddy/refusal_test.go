package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/internal/loadtest"
)

// protocol 30: a refusal says in words what its header says, and error routes of
// the operator's come first.
func TestRefusalHasAShortBody(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	at := loadtest.FreePorts(3)
	g.configure(func(s string) string {
		return s + "\nhttp://localhost:" + at[0] + " {\n\tdevice_auth /v2/* products:read admin\n\trespond x\n}" +
			"\nhttp://localhost:" + at[1] +
			" {\n\tdevice_auth\n\trespond x\n\thandle_errors 401 {\n\t\trespond \"own page\"\n\t}\n}\n" +
			"\nhttp://localhost:" + at[2] +
			" {\n\tdevice_auth\n\trespond x\n\thandle_errors 502 {\n\t\trespond \"own page\"\n\t}\n}\n"
	})
	g.start()
	token := g.token()
	for _, test := range refusals(g.url, token, at) {
		t.Run(test.name, func(t *testing.T) {
			site := *g
			site.url = "http://localhost:" + test.port
			header := http.Header{}
			for name, value := range map[string]string{"Accept": test.accept, "Authorization": test.authorization} {
				if value != "" {
					header.Set(name, value)
				}
			}
			response, body := site.request("GET", test.path, header)
			if response.StatusCode != test.status || response.Header.Get("Content-Type") != test.contentType ||
				!strings.Contains(body, test.says) {
				t.Errorf("%d %v, want %d, %s and %q in\n%s", response.StatusCode, response.Header, test.status,
					test.contentType, test.says, body)
			}
			if response.StatusCode == 401 &&
				(response.Header.Get("WWW-Authenticate") == "" || response.Header.Get("Cache-Control") != "no-store") {
				t.Errorf("%v", response.Header)
			}
			if response, body = site.request("HEAD", test.path, header); body != "" ||
				response.StatusCode != test.status {
				t.Errorf("HEAD: %d %q", response.StatusCode, body)
			}
		})
	}
}

// A refusal is a request that a guard refuses, and what its response is to be.
type refusal struct {
	name, port, path, accept, authorization string
	status                                  int
	contentType, says                       string
}

// refusals are requests that the guards of three sites refuse, at the ports in at.
func refusals(issuer, token string, at []string) []refusal {
	return []refusal{
		{name: "curl", port: at[0], path: "/v2/x", accept: "*/*", status: 401,
			contentType: "text/plain; charset=utf-8",
			says: "A bearer token is needed here. Scope: products:read admin. Tokens are given by " +
				issuer + "\n"},
		{name: "a program", port: at[0], path: "/v2/x", accept: "application/json", status: 401,
			contentType: "application/json",
			says: `{"error_description":"a bearer token is needed here","scope":"products:read ` +
				`admin","authorization_server":"` + issuer + `"}`},
		{name: "a browser", port: at[0], path: "/v2/x", accept: "text/html,application/xhtml+xml", status: 401,
			contentType: "text/html; charset=utf-8", says: "<h1>Unauthorized</h1>"},
		{name: "a made-up token", port: at[0], path: "/v2/x", accept: "application/json", authorization: "Bearer x",
			status: 401, contentType: "application/json", says: `"error":"invalid_token"`},
		{name: "a token with too little", port: at[0], path: "/v2/x", authorization: "Bearer " + token, status: 403,
			contentType: "text/plain; charset=utf-8", says: "Scope: products:read admin"},
		{name: "a malformed header", port: at[0], path: "/v2/x", authorization: "Bearer\tx", status: 400,
			contentType: "text/plain; charset=utf-8", says: "want Bearer and a token"},
		{name: "a path that cannot be judged", port: at[0], path: "/v2/../x", accept: "application/json", status: 400,
			contentType: "application/json", says: "dot segment"},
		{name: "an error route for it", port: at[1], path: "/v2/x", status: 401,
			contentType: "text/plain; charset=utf-8", says: "own page"},
		{name: "an error route for it, of another status", port: at[1], path: "/v2/x", authorization: "Bearer\tx",
			status: 400, contentType: "text/plain; charset=utf-8", says: "want Bearer and a token"},
		{name: "an error route for something else", port: at[2], path: "/v2/x", status: 401,
			contentType: "text/plain; charset=utf-8", says: "A bearer token is needed"},
	}
}
