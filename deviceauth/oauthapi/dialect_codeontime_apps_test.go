package oauthapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// manageApp is a request of the App Management API by the holder of its token.
func manageApp(s *gatewaytest.Site, method, path, body string) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return s.Do(r, "Authorization", "Bearer letmein")
}

// protocol 54
func TestAppsAreManaged(t *testing.T) {
	s := gatewaytest.New(t, registering(deviceauth.Registration{Token: "letmein"}))
	w := manageApp(s, "POST", "/oauth2/v2/apps", `{"name":"Display","author":"RESTful Workshop",
		"authorization":{"device":true,"native":false,"spa":false,"server":false},"trusted":true}`)
	made := gatewaytest.JSON(t, w)
	id, _ := made["client_id"].(string)
	path := "/oauth2/v2/apps/" + id
	if w.Code != http.StatusCreated || w.Header().Get("Location") != path || made["client_secret"] != nil {
		t.Fatalf("%d %v", w.Code, made)
	}
	links := made["_links"].(map[string]any)
	for name, method := range map[string]any{"self": nil, "edit": "PATCH", "delete": "DELETE"} {
		link, _ := links[name].(map[string]any)
		if link["href"] != path || link["method"] != method {
			t.Errorf("_links.%s is %v", name, link)
		}
	}
	d := gatewaytest.JSON(t, s.Post("/oauth2/v2/auth/device", gatewaytest.Form, "client_id="+id))
	b := s.Browser()
	b.SignIn()
	b.Submit("/device", map[string][]string{"user_code": {d["user_code"].(string)}})
	b.Sees(200, "Connect Display?")
	if strings.Contains(b.Page, "Not checked by") {
		t.Error("people are warned of a trusted app")
	}
	w = manageApp(s, "PATCH", path, `{"name":"Screen","trusted":false}`)
	changed := gatewaytest.JSON(t, w)
	if w.Code != 200 || changed["name"] != "Screen" || changed["author"] != "RESTful Workshop" ||
		changed["trusted"] != false {
		t.Errorf("%d %v", w.Code, changed)
	}
	manageApp(s, "PATCH", path, `{"trusted":true}`)
	if v := gatewaytest.JSON(t, manageApp(s, "PATCH", path, `{"name":"Panel"}`)); v["trusted"] != false {
		t.Errorf("what changes stays trusted: %v", v)
	}
	list := gatewaytest.JSON(t, manageApp(s, "GET", "/oauth2/v2/apps", ""))
	if list["count"] != 1.0 || list["collection"].([]any)[0].(map[string]any)["client_id"] != id {
		t.Errorf("listed: %v", list)
	}
	if w := manageApp(s, "DELETE", path, ""); w.Code != 204 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	gatewaytest.Refused(t, manageApp(s, "GET", path, ""), 404, "not_found")
	gatewaytest.Refused(t, manageApp(s, "PATCH", path, "{}"), 404, "not_found")
	gatewaytest.Refused(t, manageApp(s, "DELETE", path, ""), 404, "not_found")
}

// protocol 54
func TestAppsOfEachKind(t *testing.T) {
	s := gatewaytest.New(t, registering(deviceauth.Registration{Token: "letmein"}))
	for kind, secret := range map[string]bool{"native": false, "spa": false, "server": true} {
		w := manageApp(s, "POST", "/oauth2/v2/apps",
			`{"name":"X","redirect_uri":"https://app.example/cb","authorization":{"`+kind+`":true}}`)
		v := gatewaytest.JSON(t, w)
		if a, _ := v["authorization"].(map[string]any); w.Code != 201 || a[kind] != true || a["device"] != false ||
			(v["client_secret"] != nil) != secret || v["redirect_uri"] != "https://app.example/cb" {
			t.Errorf("%s: %d %v", kind, w.Code, v)
		}
	}
	// A page of the origin of a public app may read what the endpoints answer.
	r := httptest.NewRequest("OPTIONS", "/oauth2/v2/token", nil)
	w := s.Do(r, "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
	if w.Header().Get("Access-Control-Allow-Origin") != "https://app.example" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// protocol 54
func TestBadAppsAreRefused(t *testing.T) {
	s := gatewaytest.New(t, registering(deviceauth.Registration{Token: "letmein"}))
	for body, code := range map[string]string{
		`{"name":"X","authorization":{"native":true}}`:                          "invalid_redirect_uri",
		`{"name":"X","authorization":{"native":true},"redirect_uri":"ftp://x"}`: "invalid_redirect_uri",
		`{"name":7}`:                            "invalid_client_metadata",
		`{"name":"X","authorization":"device"}`: "invalid_client_metadata",
		`[]`:                                    "invalid_request",
		`null`:                                  "invalid_request",
		`{"name":"X","authorization":{}}`:       "invalid_client_metadata",
	} {
		gatewaytest.Refused(t, manageApp(s, "POST", "/oauth2/v2/apps", body), 400, code)
	}
	for _, request := range []*http.Request{
		httptest.NewRequest("GET", "/oauth2/v2/apps", nil), httptest.NewRequest("DELETE", "/oauth2/v2/apps/c_x", nil),
	} {
		gatewaytest.Refused(t, s.Do(request), 401, "invalid_token")
	}
	if without := gatewaytest.New(t, open); without.Serves("/oauth2/v2/apps/c_x") {
		t.Error("apps are managed where there is no token")
	}
}
