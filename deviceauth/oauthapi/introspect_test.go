package oauthapi_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// given goes all the way, for a client.
func given(s *gatewaytest.Site) (access, refresh, id string) {
	s.Helper()
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	v := gatewaytest.JSON(s.T, s.Poll(code))
	return v["access_token"].(string), v["refresh_token"].(string), v["id_token"].(string)
}

// protocol 25
func TestIntrospection(t *testing.T) {
	s := gatewaytest.New(t)
	access, refresh, _ := given(s)
	ask := func(token string) map[string]any {
		t.Helper()
		return gatewaytest.JSON(t, s.Post("/oauth2/introspect", gatewaytest.Form,
			url.Values{"client_id": {"meter"}, "client_secret": {"s3:cret&"}, "token": {token}}.Encode()))
	}
	v := ask(access)
	if v["active"] != true || v["sub"] != "work|1" || v["client_id"] != "tv" ||
		v["scope"] != "openid offline_access read" || v["username"] != "alice" || v["token_type"] != "Bearer" ||
		v["exp"] == nil {
		t.Errorf("got %v", v)
	}
	for name, token := range map[string]string{"another client's refresh token": refresh, "nothing known": "x",
		"half a token": access[:50]} {
		if v := ask(token); len(v) != 1 || v["active"] != false {
			t.Errorf("%s: %v", name, v)
		}
	}
	gatewaytest.Refused(t, s.Post("/oauth2/introspect", gatewaytest.Form, "client_id=tv&token="+access), 401,
		"invalid_client")
	gatewaytest.Refused(t, s.Post("/oauth2/introspect", gatewaytest.Form, "client_id=meter&token="+access), 401,
		"invalid_client")
	gatewaytest.Refused(t, s.Post("/oauth2/introspect", gatewaytest.Form, "client_id=meter&client_secret=s3%3Acret%26"),
		400, "invalid_request")
	s.Post("/oauth2/revoke", gatewaytest.Form, "client_id=tv&token="+refresh)
	if v := ask(access); len(v) != 1 || v["active"] != false {
		t.Errorf("a revoked token: %v", v)
	}
}

// protocol 25
func TestClientIntrospectsItsOwnRefreshToken(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Clients[0].Public, c.Clients[0].Secret = false, "x" })
	b := s.Browser()
	b.SignIn()
	post := func(path string, more url.Values) map[string]any {
		t.Helper()
		more.Set("client_id", "tv")
		more.Set("client_secret", "x")
		return gatewaytest.JSON(t, s.Post(path, gatewaytest.Form, more.Encode()))
	}
	v := post("/oauth2/device_authorization", url.Values{})
	b.Submit("/device", url.Values{"user_code": {v["user_code"].(string)}})
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	v = post("/oauth2/token", url.Values{"device_code": {v["device_code"].(string)},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}})
	first := v["refresh_token"].(string)
	if v := post("/oauth2/introspect", url.Values{"token": {first}}); v["active"] != true || v["token_type"] != nil {
		t.Errorf("got %v", v)
	}
	post("/oauth2/token", url.Values{"refresh_token": {first}, "grant_type": {"refresh_token"}})
	if v := post("/oauth2/introspect", url.Values{"token": {first}}); v["active"] != false || len(v) != 1 {
		t.Errorf("a spent one: %v", v)
	}
}

// protocol 26
func TestUserinfo(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Clients[0].Scope = "openid profile offline_access read" })
	access, refresh, id := given(s)
	for _, method := range []string{"GET", "POST"} {
		w := s.Get("/oauth2/userinfo", "Authorization", "Bearer "+access)
		if method == "POST" {
			w = s.Post("/oauth2/userinfo", "", "", "Authorization", "Bearer "+access)
		}
		v := gatewaytest.JSON(t, w)
		if w.Code != 200 || v["sub"] != "work|1" || v["name"] != "Alice <i>" || v["groups"] != nil ||
			w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", method, w.Code, v)
		}
	}
	for name, test := range map[string]struct {
		header string
		status int
		want   string
	}{
		"no token":     {"", 401, "Bearer realm="},
		"half a token": {"Bearer " + access[:50], 401, "invalid_token"},
		"an ID token":  {"Bearer " + id, 401, "invalid_token"},
		"no value":     {"Bearer", 400, "invalid_request"},
	} {
		var headers []string
		if test.header != "" {
			headers = []string{"Authorization", test.header}
		}
		if w := s.Get("/oauth2/userinfo", headers...); w.Code != test.status ||
			!strings.Contains(w.Header().Get("WWW-Authenticate"), test.want) {
			t.Errorf("%s: %d %q", name, w.Code, w.Header().Get("WWW-Authenticate"))
		}
	}
	v := gatewaytest.JSON(t, s.Post("/oauth2/token", gatewaytest.Form,
		"client_id=tv&grant_type=refresh_token&scope=read&refresh_token="+refresh))
	if w := s.Get("/oauth2/userinfo", "Authorization", "Bearer "+v["access_token"].(string)); w.Code != 403 ||
		!strings.Contains(w.Header().Get("WWW-Authenticate"), `scope="openid"`) {
		t.Errorf("without openid: %d %q", w.Code, w.Header().Get("WWW-Authenticate"))
	}
}
