package oauthapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// registering has clients register.
func registering(r deviceauth.Registration) func(*deviceauth.Config) {
	return func(c *deviceauth.Config) {
		r.Scope = "openid offline_access read"
		c.Registration = r
	}
}

var open = registering(deviceauth.Registration{Open: true})

// register posts client metadata.
func register(s *gatewaytest.Site, metadata string, headers ...string) *httptest.ResponseRecorder {
	s.Helper()
	return s.Post("/oauth2/register", "application/json", metadata, headers...)
}

// registered is a registration that succeeds.
func registered(s *gatewaytest.Site, metadata string, headers ...string) map[string]any {
	s.Helper()
	w := register(s, metadata, headers...)
	if w.Code != http.StatusCreated || w.Header().Get("Cache-Control") != "no-store" {
		s.Fatalf("%d %s", w.Code, w.Body)
	}
	return gatewaytest.JSON(s.T, w)
}

// The request of RFC 7591 §3.1, less what makes no sense here.
const example = `{
	"redirect_uris": ["https://client.example.org/callback", "https://client.example.org/callback2"],
	"client_name": "My Example Client",
	"client_name#ja-Jpan-JP": "クライアント名",
	"token_endpoint_auth_method": "client_secret_basic",
	"logo_uri": "https://client.example.org/logo.png",
	"jwks_uri": "https://client.example.org/my_public_keys.jwks",
	"example_extension_parameter": "example_value"
}`

// protocol 53
func TestClientRegisters(t *testing.T) {
	s := gatewaytest.New(t, open)
	v := registered(s, example)
	id, secret := v["client_id"].(string), v["client_secret"].(string)
	if id == "" || secret == "" || v["client_secret_expires_at"] != 0.0 || v["client_id_issued_at"] == nil ||
		v["registration_client_uri"] != "https://api.example.com/oauth2/register/"+id ||
		v["registration_access_token"] == "" || v["client_name"] != "My Example Client" ||
		v["scope"] != "openid offline_access read" || v["example_extension_parameter"] != nil {
		t.Errorf("got %v", v)
	}
	grant := "grant_type=refresh_token&refresh_token=x"
	w := s.Post("/oauth2/token", gatewaytest.Form, grant, "Authorization", gatewaytest.BasicAuth(id, secret))
	gatewaytest.Refused(t, w, 400, "invalid_grant")
	w = s.Post("/oauth2/token", gatewaytest.Form, grant, "Authorization", gatewaytest.BasicAuth(id, secret+"x"))
	gatewaytest.Refused(t, w, 401, "invalid_client")
	w = s.Post("/oauth2/token", gatewaytest.Form, grant+"&client_id="+id)
	gatewaytest.Refused(t, w, 401, "invalid_client")
	metadata := gatewaytest.JSON(t, s.Get("/.well-known/oauth-authorization-server"))
	if metadata["registration_endpoint"] != "https://api.example.com/oauth2/register" {
		t.Errorf("the metadata name %v", metadata["registration_endpoint"])
	}
}

// protocol 53
func TestDeviceThatRegisteredLogsIn(t *testing.T) {
	s := gatewaytest.New(t, open)
	v := registered(s, `{"client_name":"Kiosk","token_endpoint_auth_method":"none",
		"grant_types":["urn:ietf:params:oauth:grant-type:device_code","refresh_token"]}`)
	id := v["client_id"].(string)
	if v["client_secret"] != nil {
		t.Errorf("a public client was given a secret: %v", v)
	}
	d := gatewaytest.JSON(t, s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id="+id))
	b := s.Browser()
	b.SignIn()
	b.Submit("/device", url.Values{"user_code": {d["user_code"].(string)}})
	b.Sees(200, "Connect Kiosk?")
	b.Sees(200, "Not checked by api.example.com")
	b.Submit("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}})
	w := s.Post("/oauth2/token", gatewaytest.Form, url.Values{
		"client_id": {id}, "device_code": {d["device_code"].(string)},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	}.Encode())
	tokens := gatewaytest.JSON(t, w)
	if w.Code != 200 || tokens["scope"] != "openid offline_access read" {
		t.Fatalf("%d %v", w.Code, tokens)
	}
	access := "Bearer " + tokens["access_token"].(string)
	if w := s.Get("/oauth2/userinfo", "Authorization", access); w.Code != 200 {
		t.Errorf("userinfo: %d %s", w.Code, w.Body)
	}
	b.Open("/device/connections")
	b.Sees(200, "Kiosk")
	r := httptest.NewRequest("DELETE", "/oauth2/register/"+id, nil)
	if w := s.Do(r, "Authorization", "Bearer "+v["registration_access_token"].(string)); w.Code != 204 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	if w := s.Get("/oauth2/userinfo", "Authorization", access); w.Code != 401 {
		t.Errorf("userinfo of a client that is gone: %d %s", w.Code, w.Body)
	}
	w = s.Post("/oauth2/token", gatewaytest.Form, "grant_type=refresh_token&client_id="+id+
		"&refresh_token="+url.QueryEscape(tokens["refresh_token"].(string)))
	gatewaytest.Refused(t, w, 401, "invalid_client")
}

// protocol 53
func TestBrowserClientMayNotAskForDeviceCodes(t *testing.T) {
	s := gatewaytest.New(t, open)
	v := registered(s, `{"redirect_uris":["http://127.0.0.1/cb"],"token_endpoint_auth_method":"none"}`)
	w := s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id="+v["client_id"].(string))
	gatewaytest.Refused(t, w, 400, "unauthorized_client")
}

// good is a valid member to put beside an invalid one.
const good = `"redirect_uris":["https://a.example/cb"]`

// badMetadata are client metadata with the error code and a word of the description.
var badMetadata = map[string]string{
	`{}`:                             "invalid_redirect_uri redirect_uris",
	`[]`:                             "invalid_request JSON",
	`{"redirect_uris":"x"}`:          "invalid_client_metadata redirect_uris",
	`{"redirect_uris":["x"]}`:        "invalid_redirect_uri redirect",
	`{"redirect_uris":[1]}`:          "invalid_client_metadata redirect_uris",
	`{` + good + `,"client_name":7}`: "invalid_client_metadata client_name",
	`{` + good +
		`,"grant_types":["implicit"]}`: "invalid_client_metadata grant_types",
	`{` + good +
		`,"grant_types":["refresh_token"]}`: "invalid_client_metadata grant_types",
	`{` + good +
		`,"grant_types":["urn:ietf:params:oauth:grant-type:device_code"]}`: "invalid_redirect_uri redirect_uris",
	`{` + good +
		`,"response_types":["token"]}`: "invalid_client_metadata response_types",
	`{` + good +
		`,"token_endpoint_auth_method":"private_key_jwt"}`: "invalid_client_metadata token_endpoint_auth_method",
	`{` + good +
		`,"scope":"write"}`: "invalid_client_metadata scope",
	`{` + good +
		`,"scope":"a\"b"}`: "invalid_client_metadata scope",
	`{` + good +
		`,"client_uri":"http://a.example"}`: "invalid_client_metadata client_uri",
	`{` + good +
		`,"logo_uri":"javascript:x"}`: "invalid_client_metadata logo_uri",
	`{` + good +
		`,"tos_uri":"x"}`: "invalid_client_metadata tos_uri",
	`{` + good +
		`,"policy_uri":"https://u:p@a.example"}`: "invalid_client_metadata policy_uri",
	`{` + good +
		`,"contacts":["1","2","3","4","5","6"]}`: "invalid_client_metadata contacts",
	`{` + good +
		`,"application_type":"tv"}`: "invalid_client_metadata application_type",
	`{` + good + `,"software_id":"` + strings.Repeat("x", 401) +
		`"}`: "invalid_client_metadata software_id",
	`{"redirect_uris":["https://a.example/cb#x"]}`:         "invalid_redirect_uri fragment",
	`{"redirect_uris":["http://a.example/cb"]}`:            "invalid_redirect_uri want",
	`{"redirect_uris":["` + manyRedirects(11) + `"]}`:      "invalid_redirect_uri 10",
	`{"redirect_uris":["https://%D1%81laude.ai/cb"]}`:      "invalid_redirect_uri ASCII",
	`{"redirect_uris":["intent://scan"]}`:                  "invalid_redirect_uri redirect",
	`{"redirect_uris":["myapp://cb"]}`:                     "invalid_redirect_uri dot",
	`{"redirect_uris":["https://a.example/cb?code=1"]}`:    "invalid_redirect_uri answer",
	`{"redirect_uris":["https://a.example/cb?%"]}`:         "invalid_redirect_uri answer",
	`{"redirect_uris":["https://a.example:99999/"]}`:       "invalid_redirect_uri want",
	`{"redirect_uris":["https://*.com/"]}`:                 "invalid_redirect_uri ASCII",
	`{"redirect_uris":["https://./"]}`:                     "invalid_redirect_uri want",
	`{"redirect_uris":["https://api.example.com/device"]}`: "invalid_redirect_uri issuer",
	`{` + good + `,"client_name":"a","client_name":"b"}`:   "invalid_request repeated",
	`{` + good + `,"client_name":"a\u0000"}`:               "invalid_request NUL",
	`{"Redirect_URIs":["https://a.example/cb"]}`: "invalid_redirect_uri " +
		"redirect_uris",
}

// protocol 53
func TestBadClientMetadataAreNamed(t *testing.T) {
	s := gatewaytest.New(t, open)
	s.From = netip.Addr{}
	for metadata, want := range badMetadata {
		code, description, _ := strings.Cut(want, " ")
		w := register(s, metadata)
		gatewaytest.Refused(t, w, 400, code)
		if d, _ := gatewaytest.JSON(t, w)["error_description"].(string); !strings.Contains(d, description) {
			t.Errorf("%s: says %q, want %q", metadata, d, description)
		}
	}
	gatewaytest.Refused(t, s.Post("/oauth2/register", gatewaytest.Form, "client_name=x"), 400, "invalid_request")
}

// protocol 53
func TestRegistrationIsReadChangedAndRemoved(t *testing.T) {
	s := gatewaytest.New(t, open)
	v := registered(s, example)
	path := strings.TrimPrefix(v["registration_client_uri"].(string), "https://api.example.com")
	bearer := "Bearer " + v["registration_access_token"].(string)
	ask := func(method, body, authorization string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		return s.Do(r, "Authorization", authorization)
	}
	for _, method := range []string{"GET", "PUT", "DELETE"} {
		for _, wrong := range []string{"Bearer x", "Basic " + bearer, bearer + "x"} {
			w := ask(method, example, wrong)
			gatewaytest.Refused(t, w, 401, "invalid_token")
			if !strings.HasPrefix(w.Header().Get("WWW-Authenticate"), "Bearer ") {
				t.Errorf("WWW-Authenticate: %q", w.Header().Get("WWW-Authenticate"))
			}
		}
	}
	read := gatewaytest.JSON(t, ask("GET", "", bearer))
	if read["client_id"] != v["client_id"] || read["client_name"] != "My Example Client" ||
		read["client_secret"] != nil {
		t.Errorf("read %v", read)
	}
	own := `"client_id":"` + v["client_id"].(string) + `",`
	for _, wrong := range []string{
		`{"redirect_uris":["https://client.example.org/alt"]}`,
		`{"client_id":"c_X","redirect_uris":["https://a.example/"]}`,
		`{` + own + `"client_secret":"x","redirect_uris":["https://client.example.org/alt"]}`,
	} {
		gatewaytest.Refused(t, ask("PUT", wrong, bearer), 400, "invalid_client_metadata")
	}
	changed := ask("PUT", `{`+own+`"client_secret":"`+v["client_secret"].(string)+
		`","client_name":"New","redirect_uris":["https://client.example.org/alt"]}`, bearer)
	if c := gatewaytest.JSON(t, changed); changed.Code != 200 || c["client_name"] != "New" || c["logo_uri"] != nil {
		t.Errorf("changed: %d %v", changed.Code, c)
	}
	gatewaytest.Refused(t, ask("PUT", `{`+own+`"redirect_uris":["x"]}`, bearer), 400, "invalid_redirect_uri")
	public := `{` + own + `"redirect_uris":["https://a.example/"],"token_endpoint_auth_method":"none"}`
	gatewaytest.Refused(t, ask("PUT", public, bearer), 400, "invalid_client_metadata")
	if w := ask("DELETE", "", bearer); w.Code != 204 {
		t.Errorf("removed: %d %s", w.Code, w.Body)
	}
	gatewaytest.Refused(t, ask("GET", "", bearer), 401, "invalid_token")
}

// protocol 53
func TestRegistrationWantsItsToken(t *testing.T) {
	s := gatewaytest.New(t, registering(deviceauth.Registration{Token: "letmein"}))
	for _, wrong := range []string{"", "Bearer x", "Basic bGV0bWVpbg==", "letmein"} {
		headers := []string{}
		if wrong != "" {
			headers = []string{"Authorization", wrong}
		}
		gatewaytest.Refused(t, register(s, example, headers...), 401, "invalid_token")
	}
	registered(s, example, "Authorization", "Bearer letmein")
	for _, off := range []*gatewaytest.Site{
		gatewaytest.New(t), gatewaytest.New(t, registering(deviceauth.Registration{Documents: []string{"a.example"}})),
	} {
		if off.Serves("/oauth2/register") || off.Serves("/oauth2/register/c_x") {
			t.Error("registration is served where it is off")
		}
	}
}

// protocol 53
func TestRegistrationsAreBounded(t *testing.T) {
	s := gatewaytest.New(t, registering(deviceauth.Registration{Open: true, Limit: 12}))
	for range 20 { // refused requests count nothing
		register(s, "{}")
	}
	for range 10 {
		registered(s, example)
	}
	w := register(s, example)
	gatewaytest.Refused(t, w, 429, "slow_down")
	if w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	s.From = netip.MustParseAddr("2001:db8::1")
	registered(s, example)
	registered(s, example)
	gatewaytest.Refused(t, register(s, example), 503, "temporarily_unavailable")
}

// manyRedirects are n redirect URIs, without the quotes around them all.
func manyRedirects(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("http://127.0.0.1/%d", i))
	}
	return strings.Join(list, `","`)
}

// A page that registers is known to the operator no better than before.
//
// protocol 11, 28, 34, 53
func TestOriginOfAClientThatRegisteredIsItsOwnAlone(t *testing.T) {
	s := gatewaytest.New(t, open)
	const page = "https://phish.example"
	v := registered(s, `{"redirect_uris":["`+page+`/cb"],"token_endpoint_auth_method":"none"}`)
	ask := func() *httptest.ResponseRecorder {
		return s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id=tv",
			"Origin", page, "Sec-Fetch-Site", "cross-site")
	}
	if w := ask(); w.Code != 403 {
		t.Errorf("a page of another site is given a code: %d %s", w.Code, w.Body)
	}
	if s.Engine.AllowsOrigin(t.Context(), page) {
		t.Error("guards let its pages read what backends answer")
	}
	w := s.Post("/oauth2/token", gatewaytest.Form, "grant_type=x&client_id="+v["client_id"].(string), "Origin", page)
	if w.Header().Get("Access-Control-Allow-Origin") != page {
		t.Errorf("it cannot read what it is answered: %v", w.Header())
	}
}

// protocol 25, 53
func TestClientThatRegisteredLearnsNothingOfOthersTokens(t *testing.T) {
	s := gatewaytest.New(t, open)
	v := registered(s, example)
	basic := gatewaytest.BasicAuth(v["client_id"].(string), v["client_secret"].(string))
	w := s.Post("/oauth2/introspect", gatewaytest.Form, "token="+s.AccessToken(), "Authorization", basic)
	if v := gatewaytest.JSON(t, w); v["active"] != false {
		t.Errorf("got %v", v)
	}
}

// A link to this server does not redirect to the site of an unchecked client.
//
// protocol 46, 47, 53
func TestUncheckedClientIsNoOpenRedirect(t *testing.T) {
	s := gatewaytest.New(t, open)
	v := registered(s,
		`{"client_name":"X","client_uri":"https://claude.ai","redirect_uris":["https://phish.example/cb"],
		"token_endpoint_auth_method":"none"}`)
	q := url.Values{
		"client_id": {v["client_id"].(string)}, "redirect_uri": {"https://phish.example/cb"}, "response_type": {"x"},
	}
	b := s.Browser()
	b.Request(httptest.NewRequest("GET", "/oauth2/authorize?"+q.Encode(), nil))
	b.Sees(400, "goes to phish.example")
	if strings.Contains(b.Page, "http-equiv") || b.Header.Get("Location") != "" {
		t.Errorf("it is led there:\n%s", b.Page)
	}
	q.Set("response_type", "code")
	q.Set("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
	q.Set("code_challenge_method", "S256")
	b.SignIn()
	b.Open("/oauth2/authorize?" + q.Encode())
	b.Sees(200, "phish.example") // where the answer goes
	if strings.Contains(b.Page, "claude.ai") {
		t.Errorf("the page believes what the client claims:\n%s", b.Page)
	}
}

// A redirect URI that is not the one of the request says nothing of where a client is
// from, and least of all to who connects a device.
//
// protocol 53, 55
func TestRedirectURIsOfARegistrationProveNothing(t *testing.T) {
	s := gatewaytest.New(t, open)
	id := registered(s, `{"client_name":"Claude","token_endpoint_auth_method":"none",
		"redirect_uris":["https://claude.ai/api/mcp/auth_callback","https://phish.example/cb"],
		"grant_types":["authorization_code","urn:ietf:params:oauth:grant-type:device_code"]}`)["client_id"].(string)
	b := s.Browser()
	b.SignIn()
	q := url.Values{
		"client_id": {id}, "redirect_uri": {"https://phish.example/cb"}, "response_type": {"code"},
		"code_challenge":        {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		"code_challenge_method": {"S256"},
	}
	w := s.Post("/oauth2/device_authorization", gatewaytest.Form, "client_id="+id)
	for _, open := range []func(){
		func() { b.Open("/oauth2/authorize?" + q.Encode()) },
		func() {
			code := gatewaytest.JSON(t, w)["user_code"].(string)
			b.Open("/device")
			b.Submit("/device", url.Values{"form": {b.CodeForm()}, "user_code": {code}})
		},
	} {
		open()
		b.Sees(200, "introduced itself")
		if strings.Contains(b.Page, "claude.ai") {
			t.Errorf("the page believes what the client claims:\n%s", b.Page)
		}
	}
}

// The page that leads back to a program goes by what its client is now, not by what it was
// when the person answered.
//
// protocol 46, 53
func TestAnswerGoesToNoRedirectURIThatWasTakenOut(t *testing.T) {
	s := gatewaytest.New(t, open)
	metadata := `"token_endpoint_auth_method":"none","redirect_uris":["https://page.example/%s"]`
	v := registered(s, "{"+fmt.Sprintf(metadata, "old")+"}")
	id := v["client_id"].(string)
	q := url.Values{
		"client_id": {id}, "redirect_uri": {"https://page.example/old"}, "response_type": {"code"},
		"code_challenge":        {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"},
		"code_challenge_method": {"S256"},
	}
	b := s.Browser()
	b.SignIn()
	b.Open("/oauth2/authorize?" + q.Encode())
	b.Request(gatewaytest.Post("/device/confirm", url.Values{"ticket": {b.Ticket()}, "answer": {"allow"}}))
	back := b.Header.Get("Location")
	if b.Open(back); !strings.Contains(b.Page, "page.example/old") {
		t.Fatalf("%d, it does not lead back:\n%s", b.Status, b.Page)
	}
	r := httptest.NewRequest("PUT", "/oauth2/register/"+id,
		strings.NewReader(`{"client_id":"`+id+`",`+fmt.Sprintf(metadata, "new")+"}"))
	w := s.Do(r, "Content-Type", "application/json", "Authorization", "Bearer "+v["registration_access_token"].(string))
	if w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	b.Open(back)
	b.Sees(400, "The way back is not known here")
}

// The metadata documents of two clients.
const (
	pageDocument = "https://client.example.org/client.json"
	awayDocument = "https://client.example.org/away.json"
)

// The pages of a client that introduced itself act as that client alone: they could
// otherwise exchange another client's code in the browser of a person who was talked into
// handing it over, from the person's own network.
//
// protocol 46, 50, 53
func TestPageOfAClientActsAsNoOther(t *testing.T) {
	s := gatewaytest.New(t, registering(deviceauth.Registration{Open: true, Documents: []string{"*.example.org"},
		Fetch: func(_ context.Context, url string) ([]byte, error) {
			if url == awayDocument {
				return nil, errors.New("its server cannot be reached")
			}
			return fmt.Appendf(nil, `{"client_id":%q,"redirect_uris":["http://127.0.0.1/cb"]}`, url), nil
		}}))
	id := registered(s, `{"redirect_uris":["https://page.example/cb"],"token_endpoint_auth_method":"none"}`)
	for _, test := range []struct {
		client, origin, allowed string
		status                  int
	}{
		{id["client_id"].(string), "https://page.example", "https://page.example", 400},
		{"c_removed", "https://page.example", "https://page.example", 401}, // so that it registers again
		{pageDocument, "https://client.example.org", "https://client.example.org", 400},
		{pageDocument, "https://other.example.org", "https://other.example.org", 403},
		{awayDocument, "https://client.example.org", "https://client.example.org", 503}, // nothing is known of it
		{"tv", "https://page.example", "https://page.example", 403},
		{"tv", "https://other.example", "", 400},
	} {
		w := s.Post("/oauth2/token", gatewaytest.Form, "grant_type=authorization_code&code=ac_x&code_verifier=x&"+
			"redirect_uri=x&client_id="+url.QueryEscape(test.client), "Origin", test.origin)
		if w.Code != test.status || w.Header().Get("Access-Control-Allow-Origin") != test.allowed {
			t.Errorf("%s as %s: %d %s %v", test.origin, test.client, w.Code, w.Body, w.Header())
		}
	}
}

// Pages of any origin may register themselves.
//
// protocol 28, 53
func TestRegistrationAnswersPages(t *testing.T) {
	s := gatewaytest.New(t, open)
	w := register(s, example, "Origin", "https://inspector.example")
	if w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%v", w.Header())
	}
	r := httptest.NewRequest("OPTIONS", "/oauth2/register", nil)
	w = s.Do(r, "Origin", "https://inspector.example", "Access-Control-Request-Method", "POST",
		"Access-Control-Request-Headers", "content-type")
	if w.Code != 204 || !strings.Contains(strings.ToLower(w.Header().Get("Access-Control-Allow-Headers")),
		"content-type") {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}

// FuzzParseClientMetadata requires that accepted metadata are unchanged when they are
// parsed again.
func FuzzParseClientMetadata(f *testing.F) {
	f.Add(example)
	f.Add(`{"grant_types":["urn:ietf:params:oauth:grant-type:device_code"]}`)
	f.Fuzz(func(t *testing.T, document string) {
		m, err := deviceauth.ParseClientMetadata([]byte(document))
		if err != nil {
			if deviceauth.AsError(err) == nil {
				t.Fatalf("a fault: %v", err)
			}
			return
		}
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := deviceauth.ParseClientMetadata(again); err != nil {
			t.Errorf("%s is refused: %v", again, err)
		}
	})
}
