package main

import (
	"net/http"
	"strings"
	"testing"
)

// protocol 30: a refusal says in words what its header says, and error routes of
// the operator's come first.
func TestRefusalHasAShortBody(t *testing.T) {
	t.Parallel()
	g := newGateway(t)
	at := freePorts(t, 3)
	g.configure(func(s string) string {
		return s + "\nhttp://localhost:" + at[0] + " {\n\tdevice_auth /v2/* products:read admin\n\trespond x\n}" +
			"\nhttp://localhost:" + at[1] +
			" {\n\tdevice_auth\n\trespond x\n\thandle_errors 401 {\n\t\trespond \"own page\"\n\t}\n}\n" +
			"\nhttp://localhost:" + at[2] +
			" {\n\tdevice_auth\n\trespond x\n\thandle_errors 502 {\n\t\trespond \"own page\"\n\t}\n}\n"
	})
	g.start()
	token := g.token()
	tests := []struct {
		name, port, path, accept, authorization string
		status                                  int
		contentType, says                       string
	}{
		{"curl", at[0], "/v2/x", "*/*", "", 401, "text/plain; charset=utf-8",
			"A bearer token is needed here. Scope: products:read admin. Tokens are given by " + g.url + "\n"},
		{"a program", at[0], "/v2/x", "application/json", "", 401, "application/json",
			`{"error_description":"a bearer token is needed here","scope":"products:read ` +
				`admin","authorization_server":"` + g.url + `"}`},
		{"a browser", at[0], "/v2/x", "text/html,application/xhtml+xml", "", 401, "text/html; charset=utf-8",
			"<h1>Unauthorized</h1>"},
		{"a made-up token", at[0], "/v2/x", "application/json", "Bearer x", 401, "application/json",
			`"error":"invalid_token"`},
		{"a token with too little", at[0], "/v2/x", "", "Bearer " + token, 403, "text/plain; charset=utf-8",
			"Scope: products:read admin"},
		{"a malformed header", at[0], "/v2/x", "", "Bearer\tx", 400, "text/plain; charset=utf-8",
			"want Bearer and a token"},
		{"a path that cannot be judged", at[0], "/v2/../x", "application/json", "", 400, "application/json",
			"dot segment"},
		{"an error route for it", at[1], "/v2/x", "", "", 401, "text/plain; charset=utf-8", "own page"},
		{"an error route for it, of another status", at[1], "/v2/x", "", "Bearer\tx", 400, "text/plain; charset=utf-8",
			"want Bearer and a token"},
		{"an error route for something else", at[2], "/v2/x", "", "", 401, "text/plain; charset=utf-8",
			"A bearer token is needed"},
	}
	for _, test := range tests {
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
