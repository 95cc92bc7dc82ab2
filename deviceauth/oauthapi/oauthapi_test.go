package oauthapi_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// protocol 8, 19
func TestDeviceIsGivenWhatTheRFCSays(t *testing.T) {
	s := gatewaytest.New(t)
	v := gatewaytest.JSON(t, s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv"))
	if v["verification_uri"] != "https://api.example.com/device" ||
		v["verification_uri_complete"] != "https://api.example.com/device?user_code="+v["user_code"].(string) ||
		v["expires_in"] != 600.0 || v["interval"] != 5.0 {
		t.Errorf("got %v", v)
	}
	b := s.Browser()
	b.SignIn()
	_, code := b.Ask()
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	w := s.Poll(code)
	v = gatewaytest.JSON(t, w)
	if w.Code != 200 || v["token_type"] != "Bearer" || v["expires_in"] != 900.0 ||
		v["scope"] != "openid offline_access read" || v["id_token"] == nil || v["refresh_token"] == nil {
		t.Errorf("got %d %v", w.Code, v)
	}
	if w.Header().Get("Cache-Control") != "no-store" {
		t.Error("the tokens may be cached")
	}
}

// protocol 29
func TestAccessTokenHasTheClaimsOfItsProfile(t *testing.T) {
	s := gatewaytest.New(t)
	s.Upstream.Person.AuthTime = time.Unix(1_700_000_000, 0)
	token := strings.Split(s.AccessToken(), ".")
	part := func(i int) map[string]any {
		text, err := base64.RawURLEncoding.DecodeString(token[i])
		if err != nil {
			t.Fatal(err)
		}
		v := map[string]any{}
		if err := json.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	if header := part(0); header["typ"] != "at+jwt" || header["alg"] != "ES256" || header["kid"] == nil {
		t.Errorf("header %v", header)
	}
	claims := part(1)
	for name, want := range map[string]any{
		"iss": "https://api.example.com", "aud": "https://api.example.com", "sub": "work|1", "client_id": "tv",
		"scope": "openid offline_access read", "auth_time": 1_700_000_000.0,
	} {
		if claims[name] != want {
			t.Errorf("%s is %v, want %v", name, claims[name], want)
		}
	}
	if iat, exp := claims["iat"].(float64), claims["exp"].(float64); exp-iat != 900 || claims["jti"] == nil ||
		claims["sid"] == nil || len(claims) != 10 {
		t.Errorf("claims %v", claims)
	}
}

// protocol 1
func TestMethods(t *testing.T) {
	s := gatewaytest.New(t)
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "HEAD"} {
		w := s.Do(httptest.NewRequest(method, "/oauth2/token", nil))
		if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "POST, OPTIONS" {
			t.Errorf("%s: %d, Allow %q", method, w.Code, w.Header().Get("Allow"))
		}
	}
	for _, path := range []string{"/oauth2/jwks", "/device", "/.well-known/openid-configuration"} {
		if w := s.Do(httptest.NewRequest("HEAD", path, nil)); w.Code != 200 || w.Body.Len() > 0 {
			t.Errorf("HEAD %s: %d with a body of %d bytes", path, w.Code, w.Body.Len())
		}
	}
}

// bodyCases are bodies of device authorization requests, by their media types.
var bodyCases = []struct {
	name, contentType, body string
	status                  int
	code                    string
}{
	{"a form", gatewaytest.Form, "client_id=tv", 200, ""},
	{"a gatewaytest.Form with a charset", gatewaytest.Form + "; charset=UTF-8", "client_id=tv", 200, ""},
	{"JSON", "application/json", `{"client_id":"tv","_links":{"self":1},"scope":null}`, 200, ""},
	{"JSON with two resources", "application/json",
		`{"client_id":"tv","resource":["https://api.example.com","https://api.example.com"]}`, 200, ""},
	{"an empty scope", gatewaytest.Form, "client_id=tv&scope=", 200, ""},
	{"an unknown parameter twice", gatewaytest.Form, "client_id=tv&x=1&x=2", 200, ""},
	{"two resources", gatewaytest.Form,
		"client_id=tv&resource=https%3A%2F%2Fapi.example.com&resource=https%3A%2F%2Fapi.example.com", 200, ""},
	{"no content type", "", "client_id=tv", 400, "invalid_request"},
	{"plain text", "text/plain", "client_id=tv", 400, "invalid_request"},
	{"a broken escape", gatewaytest.Form, "client_id=%zz", 400, "invalid_request"},
	{"a scope twice", gatewaytest.Form, "client_id=tv&scope=read&scope=read", 400, "invalid_request"},
	{"a client twice, once empty", gatewaytest.Form, "client_id=tv&client_id=", 400, "invalid_request"},
	{"a NUL", gatewaytest.Form, "client_id=tv&scope=%00", 400, "invalid_request"},
	{"no UTF-8", "application/json", "{\"client_id\":\"\xff\"}", 400, "invalid_request"},
	{"an array", "application/json", `["client_id"]`, 400, "invalid_request"},
	{"JSON cut off", "application/json", `{"client_id":"tv"`, 400, "invalid_request"},
	{"two objects", "application/json", `{"client_id":"tv"}{}`, 400, "invalid_request"},
	{"a member twice", "application/json", `{"client_id":"tv","client_id":"tv"}`, 400, "invalid_request"},
	{"a number", "application/json", `{"client_id":7}`, 400, "invalid_request"},
	{"too much", gatewaytest.Form, "client_id=tv&x=" + strings.Repeat("y", 65<<10), 413, "invalid_request"},
	{"nothing", gatewaytest.Form, "", 401, "invalid_client"},
	{"nothing, and no type", "", "", 401, "invalid_client"},
	{"a gatewaytest.Form behind a byte order mark", gatewaytest.Form, "\ufeffclient_id=tv", 200, ""},
	{"JSON behind a byte order mark", "application/json", "\ufeff{\"client_id\":\"tv\"}", 200, ""},
	{"a byte order mark alone", "", "\ufeff", 401, "invalid_client"},
	{"a gatewaytest.Form with an odd name beside", gatewaytest.Form, "client_id=tv&{x}=1", 200, ""},
	{"JSON as a form", gatewaytest.Form, `{"client_id":"tv"}`, 400, "invalid_request"},
	{"a gatewaytest.Form as JSON", "application/json", "client_id=tv", 400, "invalid_request"},
}

// protocol 2, 3, 4
func TestBodies(t *testing.T) {
	for _, test := range bodyCases {
		t.Run(test.name, func(t *testing.T) {
			w := gatewaytest.New(t).Post("/oauth2/device_authorization", test.contentType, test.body)
			if test.status != 200 {
				gatewaytest.Refused(t, w, test.status, test.code)
			} else if w.Code != 200 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	if w := gatewaytest.New(t).Post("/oauth2/device_authorization?client_id=tv", gatewaytest.Form, ""); w.Code != 401 {
		t.Errorf("a client_id in the query is looked at: %d", w.Code)
	}
}

// withoutBody is a request without a body and without a Content-Type.
const withoutBody = "\x00"

// oddClients are clients whose ids and secrets are not what they look like.
func oddClients(c *deviceauth.Config) {
	for id, secret := range map[string]deviceauth.Secret{"plus": "a+b%2Fc", "per cent": "100%", "a+b": "s"} {
		c.Clients = append(c.Clients, deviceauth.Client{ID: id, Secret: secret, Scope: "read"})
	}
}

// right is the Basic header of the client meter with its secret.
var right = gatewaytest.BasicAuth("meter", url.QueryEscape("s3:cret&"))

// authenticationCases are the ways in which a client may and may not authenticate.
var authenticationCases = []struct {
	name, body string
	headers    []string
	status     int
	code       string
}{
	{"Basic", "", []string{"Authorization", right}, 200, ""},
	{"Basic, in lower case", "", []string{"Authorization", "b" + right[1:]}, 200, ""},
	{"Basic with the same client_id", "client_id=meter", []string{"Authorization", right}, 200, ""},
	{"Basic with another client_id", "client_id=tv", []string{"Authorization", right}, 400, "invalid_request"},
	{"Basic and a secret", "client_secret=s3%3Acret%26", []string{"Authorization", right}, 400, "invalid_request"},
	{"Basic twice", "", []string{"Authorization", right, "Authorization", right}, 400, "invalid_request"},
	{"Basic with a wrong secret", "", []string{"Authorization", gatewaytest.BasicAuth("meter", "x")}, 401,
		"invalid_client"},
	{"Basic of nobody", "", []string{"Authorization", gatewaytest.BasicAuth("x", "x")}, 401, "invalid_client"},
	{"Basic that is none", "", []string{"Authorization", "Basic !"}, 401, "invalid_client"},
	{"another scheme", "", []string{"Authorization", "Bearer x"}, 401, "invalid_client"},
	{"a secret", "client_id=meter&client_secret=s3%3Acret%26", nil, 200, ""},
	{"no secret", "client_id=meter", nil, 401, "invalid_client"},
	{"a public client with Basic and no secret", "",
		[]string{"Authorization", gatewaytest.BasicAuth("tv", "")}, 200, ""},
	{"a secret as it is written, of form-encoded letters", "",
		[]string{"Authorization", gatewaytest.BasicAuth("plus", "a+b%2Fc")}, 200, ""},
	{"the same, form-encoded", "",
		[]string{"Authorization", gatewaytest.BasicAuth("plus", url.QueryEscape("a+b%2Fc"))}, 200, ""},
	{"the same, decoded once too often", "", []string{"Authorization", gatewaytest.BasicAuth("plus", "a b/c")}, 401,
		"invalid_client"},
	{"a secret that is no form-encoded text", "",
		[]string{"Authorization", gatewaytest.BasicAuth("per cent", "100%")}, 200, ""},
	{"a client_id as it is written", "",
		[]string{"Authorization", gatewaytest.BasicAuth("per cent", "100%25")}, 200, ""},
	{"a client_id with a plus, as it is written", "",
		[]string{"Authorization", gatewaytest.BasicAuth("a+b", "s")}, 200, ""},
	{"the same, form-encoded", "", []string{"Authorization", gatewaytest.BasicAuth("a%2Bb", "s")}, 200, ""},
	{"a public client's Basic without a body or its type", withoutBody,
		[]string{"Authorization", gatewaytest.BasicAuth("tv", "")}, 200, ""},
	{"Basic without a body or its type", withoutBody, []string{"Authorization", right}, 200, ""},
	{"Basic whose secret ends in a line break", "",
		[]string{"Authorization", gatewaytest.BasicAuth("meter", "s3:cret&\n")}, 401, "invalid_client"},
	{"a public client with a secret", "client_id=tv&client_secret=x", nil, 401, "invalid_client"},
}

// protocol 2, 5, 6, 12
func TestClientAuthentication(t *testing.T) {
	for _, test := range authenticationCases {
		t.Run(test.name, func(t *testing.T) {
			kind := gatewaytest.Form
			if test.body == withoutBody {
				kind, test.body = "", ""
			}
			w := gatewaytest.New(t, oddClients).Post("/oauth2/device_authorization", kind, test.body, test.headers...)
			if test.status != 200 {
				gatewaytest.Refused(t, w, test.status, test.code)
			} else if w.Code != 200 {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
			if challenged := w.Header().Get("WWW-Authenticate") != ""; challenged != (w.Code == 401 &&
				test.headers != nil) {
				t.Errorf("WWW-Authenticate %q with %d", w.Header().Get("WWW-Authenticate"), w.Code)
			}
		})
	}
	s := gatewaytest.New(t)
	s.From = netip.MustParseAddr("198.51.100.9")
	gatewaytest.Refused(t, s.Post("/oauth2/device_authorization", gatewaytest.Form, "", "Authorization", right), 403,
		"access_denied")
}

// protocol 13
func TestTokenRequests(t *testing.T) {
	const kind = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code"
	tests := []struct {
		name, body string
		code       string
	}{
		{"no grant type", "client_id=tv&device_code=x", "invalid_request"},
		{"another grant type", "client_id=tv&grant_type=password", "unsupported_grant_type"},
		{"no device code", "client_id=tv&" + kind, "invalid_request"},
		{"an unknown device code", "client_id=tv&device_code=x&" + kind, "invalid_grant"},
		{"no refresh token", "client_id=tv&grant_type=refresh_token", "invalid_request"},
		{"an unknown refresh token", "client_id=tv&grant_type=refresh_token&refresh_token=x", "invalid_grant"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			gatewaytest.Refused(t, gatewaytest.New(t).Post("/oauth2/token", gatewaytest.Form, test.body),
				400, test.code)
		})
	}
}

// protocol 16
func TestSlowDownTellsTheInterval(t *testing.T) {
	s := gatewaytest.New(t)
	code := gatewaytest.JSON(t, s.Post("/oauth2/device_authorization", gatewaytest.Form,
		"client_id=tv"))["device_code"].(string)
	gatewaytest.Refused(t, s.Poll(code), 400, "authorization_pending")
	w := s.Poll(code)
	if v := gatewaytest.JSON(t, w); v["interval"] != 10.0 {
		t.Errorf("got %v, want an interval of 10", v)
	}
	gatewaytest.Refused(t, w, 400, "slow_down")
}

// protocol 11
func TestTooManyPendingAreToldTheTimeToWait(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Pending.PerAddress = 1 })
	s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv")
	w := s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv")
	gatewaytest.Refused(t, w, 429, "slow_down")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
}

// protocol 1, 28
func TestCrossOriginRequests(t *testing.T) {
	s := gatewaytest.New(t)
	tests := []struct {
		path, origin, allowed string
	}{
		{"/oauth2/token", "https://tv.example", "https://tv.example"},
		{"/oauth2/token", "https://evil.example", ""},
		{"/oauth2/token", "null", ""},
		{"/oauth2/jwks", "https://evil.example", "*"},
		{"/.well-known/oauth-authorization-server", "https://evil.example", "*"},
		{"/device", "https://tv.example", ""},
	}
	for _, test := range tests {
		r := httptest.NewRequest("OPTIONS", test.path, nil)
		w := s.Do(r, "Origin", test.origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers",
			"authorization,content-type")
		if w.Code != 204 || w.Header().Get("Access-Control-Allow-Origin") != test.allowed ||
			(test.allowed == "") != (w.Header().Get("Access-Control-Allow-Methods") == "") {
			t.Errorf("%s from %s: %d %v", test.path, test.origin, w.Code, w.Header())
		}
		if w.Header().Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s allows credentials", test.path)
		}
	}
	w := s.Post("/oauth2/token", gatewaytest.Form, "client_id=nobody&grant_type=refresh_token&refresh_token=x",
		"Origin", "https://tv.example")
	if w.Code != 401 || w.Header().Get("Access-Control-Allow-Origin") != "https://tv.example" ||
		w.Header().Get("Vary") != "Origin" {
		t.Errorf("an error: %d %v", w.Code, w.Header())
	}
}

// protocol 28
func TestMetadata(t *testing.T) {
	for issuer, paths := range map[string][]string{
		"https://api.example.com": {"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"},
		"https://api.example.com/auth": {
			"/.well-known/oauth-authorization-server/auth", "/.well-known/openid-configuration/auth",
			"/auth/.well-known/oauth-authorization-server", "/auth/.well-known/openid-configuration",
		},
	} {
		s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Issuer = issuer })
		for _, path := range paths {
			v := gatewaytest.JSON(t, s.Get(path))
			if v["issuer"] != issuer || v["device_authorization_endpoint"] != issuer+"/oauth2/device_authorization" ||
				v["token_endpoint"] != issuer+"/oauth2/token" || v["jwks_uri"] != issuer+"/oauth2/jwks" {
				t.Errorf("%s: %v", path, v)
			}
			if v["authorization_endpoint"] != issuer+"/oauth2/authorize" ||
				v["authorization_response_iss_parameter_supported"] != true {
				t.Errorf("%s: %v", path, v)
			}
			for name, want := range map[string]string{
				"code_challenge_methods_supported": "[S256]", "response_types_supported": "[code]",
				"response_modes_supported": "[query]",
			} {
				if got := fmt.Sprint(v[name]); got != want {
					t.Errorf("%s: %s is %s, want %s", path, name, got, want)
				}
			}
		}
	}
}

// protocol 28
func TestMetadataHasWhatStrictClientsWant(t *testing.T) {
	without := gatewaytest.New(t, func(c *deviceauth.Config) {
		for i := range c.Clients {
			c.Clients[i].Scope = ""
		}
	})
	for _, s := range []*gatewaytest.Site{gatewaytest.New(t), without} {
		for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
			v := gatewaytest.JSON(t, s.Get(path))
			// RFC 8414 §2, OpenID Connect Discovery §3
			for _, required := range []string{
				"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "response_types_supported",
				"subject_types_supported", "id_token_signing_alg_values_supported",
			} {
				if v[required] == nil {
					t.Errorf("%s: no %s", path, required)
				}
			}
			for name, value := range v {
				if list, ok := value.([]any); ok && len(list) == 0 {
					t.Errorf("%s: %s is an empty list (RFC 8414 §3.2)", path, name)
				}
			}
		}
	}
	if _, there := gatewaytest.JSON(t,
		without.Get("/.well-known/oauth-authorization-server"))["scopes_supported"]; there {
		t.Error("a server without scopes names an empty list of them")
	}
}

// protocol 27
func TestKeysArePublic(t *testing.T) {
	w := gatewaytest.New(t).Get("/oauth2/jwks")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Cache-Control"), "public") ||
		strings.Contains(w.Body.String(), `"d"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// protocol 24
func TestRevocationAnswers(t *testing.T) {
	s := gatewaytest.New(t)
	if w := s.Post("/oauth2/revoke", gatewaytest.Form, "client_id=tv&token=unknown"); w.Code != 200 ||
		w.Body.Len() > 0 {
		t.Errorf("an unknown token: %d %s", w.Code, w.Body)
	}
	gatewaytest.Refused(t, s.Post("/oauth2/revoke", gatewaytest.Form, "client_id=tv"), 400, "invalid_request")
	gatewaytest.Refused(t, s.Post("/oauth2/revoke", gatewaytest.Form, "client_id=nobody&token=x"), 401,
		"invalid_client")
}

func FuzzTokenEndpoint(f *testing.F) {
	f.Add(gatewaytest.Form, "client_id=tv&grant_type=refresh_token&refresh_token=rt_x", "")
	f.Add("application/json",
		`{"client_id":"tv","grant_type":"urn:ietf:params:oauth:grant-type:device_code","device_code":"dc_x"}`,
		"Basic dHY6")
	f.Fuzz(func(t *testing.T, contentType, text, authorization string) {
		w := gatewaytest.New(t).Post("/oauth2/token", contentType, text, "Authorization", authorization)
		if w.Code < 400 || w.Code >= 500 {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		gatewaytest.JSON(t, w)
	})
}

// siteCases are device authorization requests with the Sec-Fetch-Site header of
// various pages.
var siteCases = []struct {
	name    string
	headers []string
	refused bool
}{
	{"a device", nil, false},
	{"a page of another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
	{"a gatewaytest.Form that hides where it is from",
		[]string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, true},
	{"an image", []string{"Sec-Fetch-Site", "cross-site"}, true},
	{"an old browser", []string{"Origin", "https://evil.example"}, true},
	{"an old browser that hides it", []string{"Origin", "null"}, true},
	{"another scheme", []string{"Origin", "http://tv.example"}, true},
	{"a client's page", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://tv.example"}, false},
	{"a client's page in an old browser", []string{"Origin", "https://tv.example"}, false},
	{"a page of this site", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://api.example.com"}, false},
	{"a page of this site in an old browser", []string{"Origin", "https://api.example.com"}, false},
	{"a page of a neighbour", []string{"Sec-Fetch-Site", "same-site", "Origin", "https://www.example.com"}, true},
	{"a page of somebody else's host at our address",
		[]string{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, true},
	{"a page of ours", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://api.example.com"}, false},
	{"the address bar", []string{"Sec-Fetch-Site", "none"}, false},
}

// A page of another site has no device of a client ask, whatever it sends, and
// uses nothing up; the pages that play a device, and devices, which send none of
// these headers, do.
//
// protocol 1, 11
func TestPageOfAnotherSiteGetsNoCode(t *testing.T) {
	paths := map[string]string{ // standard and dialects
		"/oauth2/device_authorization": "client_id=tv", "/oauth/device/code": "client_id=tv",
	}
	for _, test := range siteCases {
		t.Run(test.name, func(t *testing.T) {
			for path, body := range paths {
				s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Pending.Total = 1 })
				w := s.Post(path, gatewaytest.Form, body, test.headers...)
				if !test.refused {
					if w.Code != 200 {
						t.Errorf("%s: %d %s", path, w.Code, w.Body)
					}
					continue
				}
				gatewaytest.Refused(t, w, 403, "access_denied")
				if pending, _ := s.PollState.Counts(); pending != 0 {
					t.Errorf("%s: %d codes wait", path, pending)
				}
				if w := s.Post(path, gatewaytest.Form, body); w.Code != 200 {
					t.Errorf("%s, a device after it: %d %s", path, w.Code, w.Body)
				}
			}
		})
	}
	// What does not begin anything is answered as usual (1).
	w := gatewaytest.New(t).Post("/oauth2/token", gatewaytest.Form,
		"client_id=tv&grant_type=refresh_token&refresh_token=x",
		"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")
	gatewaytest.Refused(t, w, 400, "invalid_grant")
}

// The location of a device's request, which the operator's function returns, is
// stored with it. An address from a NAT64 translator is stored as the IPv4 address
// behind it.
//
// protocol 8, 43
func TestDeviceIsKeptWithItsPlaceAndAddress(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) {
		c.NAT64 = []netip.Prefix{netip.MustParsePrefix("2001:db8:64::/96")}
	})
	s.Reconfigure(func(c *gateway.HandlerConfig) {
		c.Place = func(r *http.Request) string { return r.Header.Get("X-City") + "\u202e, Portugal" }
	})
	s.From = netip.MustParseAddr("2001:db8:64::192.0.2.7")
	s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv", "X-City", "Lisbon")
	grants, _, err := s.Engine.Grants(t.Context(), deviceauth.Filter{}, "", 10)
	if err != nil || len(grants) != 1 {
		t.Fatalf("%v, %v", grants, err)
	}
	if g := grants[0]; g.Place != "Lisbon, Portugal" || g.From.String() != "192.0.2.7" {
		t.Errorf("kept with %q, %v", g.Place, g.From)
	}
	b := s.Browser()
	s.From = netip.MustParseAddr("198.51.100.9")
	b.SignIn()
	b.Submit("/device", url.Values{"user_code": {string(grants[0].UserCode)}})
	b.Sees(200, "192.0.2.7</bdi> (<bdi>Lisbon, Portugal</bdi>)")
	b.Sees(200, "just now from 192.0.2.7 (Lisbon, Portugal)")
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	b.Sees(200, "asked from 192.0.2.7 (Lisbon, Portugal), and you are at 198.51.100.9")
}
