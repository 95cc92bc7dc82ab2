package oauthapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

const (
	authorizationPath = "/oauth2/device_authorization"
	tokenPath         = "/oauth2/token"
	deviceGrant       = "urn:ietf:params:oauth:grant-type:device_code"
)

// mistakeCases are requests of clients with a common mistake, and what the description names.
var mistakeCases = []struct {
	name, path, contentType, body string
	headers                       []string
	status                        int
	code, description             string
}{
	{"JSON under the gatewaytest.Form type", authorizationPath, gatewaytest.Form, `{"client_id":"tv"}`, nil, 400,
		"invalid_request", "looks like JSON"},
	{"the same behind a byte order mark", authorizationPath, gatewaytest.Form, "\ufeff\n{\"client_id\":\"tv\"}", nil,
		400, "invalid_request", "looks like JSON"},
	{"JSON with a percent sign", authorizationPath, gatewaytest.Form, `{"client_id":"100%"}`, nil, 400,
		"invalid_request", "looks like JSON"},
	{"a gatewaytest.Form under the JSON type", authorizationPath, "application/json", "client_id=tv&scope=read", nil,
		400, "invalid_request", "looks like a form"},
	{"client_id in the query", authorizationPath + "?client_id=tv", gatewaytest.Form, "", nil, 401, "invalid_client",
		"client_id is in the query"},
	{"all in the query", tokenPath + "?client_id=tv&grant_type=" + deviceGrant, "", "", nil, 401, "invalid_client",
		"client_id is in the query"},
	{"grant_type in the query", tokenPath + "?grant_type=" + deviceGrant, gatewaytest.Form, "client_id=tv", nil, 400,
		"invalid_request", "grant_type is in the query"},
	{"device_code in the query", tokenPath + "?device_code=x", gatewaytest.Form,
		"client_id=tv&grant_type=" + deviceGrant,
		nil, 400, "invalid_request", "device_code is in the query"},
	{"refresh_token in the query", tokenPath + "?refresh_token=x", gatewaytest.Form,
		"client_id=tv&grant_type=refresh_token", nil, 400, "invalid_request", "refresh_token is in the query"},
	{"token in the query", "/oauth2/revoke?token=x", gatewaytest.Form, "client_id=tv", nil, 400, "invalid_request",
		"token is in the query"},
	{"a compressed body", authorizationPath, gatewaytest.Form, "\x1f\x8b\x08", []string{"Content-Encoding", "gzip"},
		415, "invalid_request", "Content-Encoding"},
	{"a compressed empty body", authorizationPath, gatewaytest.Form, "", []string{"Content-Encoding", "br"}, 415,
		"invalid_request", "Content-Encoding"},
	{"a body that says it is as it is", authorizationPath, gatewaytest.Form, "client_id=tv",
		[]string{"Content-Encoding", "Identity"}, 200, "", ""},
	{"a line break behind client_id", authorizationPath, gatewaytest.Form, "client_id=tv%0A", nil, 400,
		"invalid_request", "client_id ends in a line break"},
	{"a line break behind a JSON member", authorizationPath, "application/json", `{"client_id":"tv\r\n"}`, nil, 400,
		"invalid_request", "client_id ends in a line break"},
	{"a line break behind device_code", tokenPath, gatewaytest.Form, "client_id=tv&device_code=x%0D%0A&grant_type=" +
		deviceGrant, nil, 400, "invalid_request", "device_code ends in a line break"},
	{"a line break behind a secret", authorizationPath, gatewaytest.Form, "client_id=meter&client_secret=s%0A", nil,
		401, "invalid_client", "secret that was sent ends in a line break"},
	{"a line break behind Basic's secret", authorizationPath, gatewaytest.Form, "",
		[]string{"Authorization", gatewaytest.BasicAuth("meter", "s\n")}, 401, "invalid_client",
		"secret that was sent ends in a line break"},
	{"another resource", authorizationPath, gatewaytest.Form, "client_id=tv&resource=https%3A%2F%2Fother.example%2F",
		nil, 400, "invalid_target", "https://other.example/; known are: https://api.example.com"},
}

// protocol 1, 2, 9
func TestMistakesAreNamed(t *testing.T) {
	for _, test := range mistakeCases {
		t.Run(test.name, func(t *testing.T) {
			w := gatewaytest.New(t).Post(test.path, test.contentType, test.body, test.headers...)
			if test.status == 200 {
				if w.Code != 200 {
					t.Errorf("got %d %s", w.Code, w.Body)
				}
				return
			}
			gatewaytest.Refused(t, w, test.status, test.code)
			if text := gatewaytest.JSON(t, w)["error_description"].(string); !strings.Contains(text, test.description) {
				t.Errorf("it says %q, want something about %q", text, test.description)
			}
		})
	}
}

// protocol 1
func TestMethodThatIsNotAllowedIsToldInWords(t *testing.T) {
	s := gatewaytest.New(t)
	w := s.Do(httptest.NewRequest("GET", "/oauth2/token", nil))
	gatewaytest.Refused(t, w, http.StatusMethodNotAllowed, "invalid_request")
	if text := w.Body.String(); !strings.Contains(text, "GET is not allowed here; allowed are: POST, OPTIONS") {
		t.Error(text)
	}
	w = s.Do(httptest.NewRequest("PUT", "/device", nil))
	if w.Code != 405 || w.Header().Get("Content-Type") != "text/plain; charset=utf-8" ||
		!strings.Contains(w.Body.String(), "PUT is not allowed here") {
		t.Errorf("got %d %q %s", w.Code, w.Header(), w.Body)
	}
	if w = s.Do(httptest.NewRequest("HEAD", "/oauth2/token", nil)); w.Code != 405 || w.Body.Len() > 0 {
		t.Errorf("HEAD: %d with %s", w.Code, w.Body)
	}
}

// protocol 13
func TestChallengeAndVerifierOverHTTP(t *testing.T) {
	const verifier, challenge = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Wait = -1 })
	gatewaytest.Refused(t, s.Post("/oauth2/device_authorization", gatewaytest.Form,
		"client_id=tv&code_challenge="+challenge), 400, "invalid_request")
	gatewaytest.Refused(t, s.Post("/oauth2/device_authorization", gatewaytest.Form,
		"client_id=tv&code_challenge_method=plain&code_challenge="+challenge), 400, "invalid_request")
	w := s.Post("/oauth2/device_authorization", "application/json",
		`{"client_id":"tv","code_challenge_method":"S256","code_challenge":"`+challenge+`"}`)
	code := gatewaytest.JSON(t, w)["device_code"].(string)
	poll := "client_id=tv&grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=" + code
	gatewaytest.Refused(t, s.Post("/oauth2/token", gatewaytest.Form, poll), 400, "invalid_grant")
	gatewaytest.Refused(t, s.Post("/oauth2/token", gatewaytest.Form, poll+"&code_verifier=x"), 400, "invalid_grant")
	gatewaytest.Refused(t, s.Post("/oauth2/token", gatewaytest.Form, poll+"&code_verifier="+verifier), 400,
		"authorization_pending")
}

// protocol 22
func TestResourceAtTheTokenEndpoint(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) {
		c.Audience, c.Wait = []string{"https://api.example.com", "https://api.example.com/v2"}, -1
	})
	w := s.Post("/oauth2/device_authorization", gatewaytest.Form,
		"client_id=tv&resource=https://api.example.com/v2/products")
	code := gatewaytest.JSON(t, w)["device_code"].(string)
	poll := "client_id=tv&grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code=" + code
	gatewaytest.Refused(t, s.Post("/oauth2/token", gatewaytest.Form, poll+"&resource=https://api.example.com/v1"), 400,
		"invalid_target")
	gatewaytest.Refused(t, s.Post("/oauth2/token", gatewaytest.Form, poll+"&resource=https://api.example.com/v2/"), 400,
		"authorization_pending")
}
