package devicecheck

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// claims changes what a token says, and breaks its signature with that.
func claims(part int, change func(map[string]any)) func(string) string {
	return func(token string) string {
		parts := strings.Split(token, ".")
		text, _ := base64.RawURLEncoding.DecodeString(parts[part])
		v := map[string]any{}
		json.Unmarshal(text, &v)
		change(v)
		text, _ = json.Marshal(v)
		parts[part] = base64.RawURLEncoding.EncodeToString(text)
		return strings.Join(parts, ".")
	}
}

// token changes one of the tokens in a token response. The server keeps the unchanged
// one, so the defect is visible only in the response.
func token(name string, change func(string) string) func(*stand) {
	return func(s *stand) {
		var given sync.Map
		s.before = func(q *http.Request) {
			if real, ok := given.Load(q.Header.Get("Authorization")); ok {
				q.Header.Set("Authorization", real.(string))
			}
		}
		s.tamper = at("/oauth2/token", func(w *httptest.ResponseRecorder) {
			members(w, func(v map[string]any) {
				if text, ok := v[name].(string); ok {
					other := change(text)
					given.Store("Bearer "+other, "Bearer "+text)
					v[name] = other
				}
			})
		})
	}
}

// resigned lets the stand's server sign other claims, so that nothing but them
// is wrong.
func resigned(name, typ string, change func(map[string]any)) func(*stand) {
	return func(s *stand) {
		token(name, func(text string) string {
			v := map[string]any{}
			body, _ := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
			json.Unmarshal(body, &v)
			change(v)
			signed, err := s.keys.Sign(typ, v)
			if err != nil {
				s.Error(err)
			}
			return signed
		})(s)
	}
}

func nothing(map[string]any) {}

// loginDefects are visible only with a complete login.
var loginDefects = []defect{
	{what: "tokens in caches", check: "login.response", want: Fail, mend: "no-store",
		stand: asked("/oauth2/token", "grant_type", grantDeviceCode,
			when("access_token", header("Cache-Control", "private")))},
	{what: "tokens of no known length", check: "login.response", want: Warn, mend: "`lifetime access_token 15m`",
		tamper: at("/oauth2/token", setMember("expires_in", nil))},
	{what: "an access token that is signed otherwise", check: "login.token", want: Fail, mend: "`store redis`",
		stand: token("access_token", claims(1, func(v map[string]any) { v["sub"] = "root" }))},
	{what: "an access token of another type", check: "login.token", want: Warn, mend: "RFC 9068",
		stand: resigned("access_token", "JWT", nothing)},
	{what: "an access token of another issuer", check: "login.token", want: Fail, mend: "one `issuer`",
		stand: resigned("access_token", "at+jwt", func(v map[string]any) { v["iss"] = "https://other.example" })},
	{what: "an access token that is over", check: "login.token", want: Fail, mend: "NTP",
		stand: resigned("access_token", "at+jwt", func(v map[string]any) { v["exp"] = 1_700_000_000 })},
	{what: "no ID token", check: "login.id", want: Fail, mend: "OpenID Connect Core",
		tamper: at("/oauth2/token", setMember("id_token", nil))},
	{what: "an ID token for another client", check: "login.id", want: Fail, mend: "name a person",
		stand: resigned("id_token", "JWT", func(v map[string]any) { v["aud"] = "radio" })},
	{what: "userinfo about somebody else", check: "login.userinfo", want: Fail, mend: "cache",
		tamper: at("/oauth2/userinfo", setMember("sub", "work|2"))},
	{what: "a scope that the client lacks", check: "login.api", want: Fail, mend: "`scopes` in `client tv`",
		config: func(c *Config) { c.Scopes = []string{"openid", "offline_access"} }},
	{what: "a refresh token that another gateway does not know", check: "login.refresh", want: Fail,
		mend: "`store redis`", stand: asked("/oauth2/token", "grant_type", "refresh_token",
			answering(400, `{"error":"invalid_grant"}`))},
	{what: "a refresh that does not rotate", check: "login.refresh", want: Warn, mend: "RFC 9700",
		stand: asked("/oauth2/token", "grant_type", "refresh_token", setMember("refresh_token", nil))},
	{what: "a revocation that fails", check: "login.revoke", want: Fail, mend: "RFC 7009",
		tamper: at("/oauth2/revoke", status(503))},
	{what: "a guard that does not hear of the revocation", check: "login.revoke", want: Warn, mend: "`cache`",
		stand: func(s *stand) {
			s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
				if token := q.Header.Get("Authorization"); q.URL.Path == "/api/things" && token != "" &&
					token != "Bearer "+madeUp {
					answering(200, "things")(w)
				}
			}
		}},
	{what: "no revocation", check: "login.revoke", want: Warn, mend: "lost device",
		tamper: both(setMember("revocation_endpoint", nil))},
}

func TestEachDefectOfALoginIsReportedByItsOwnCheck(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{"login.flow": true} // see TestDenialIsReported
	for _, d := range loginDefects {
		tried[d.check] = true
		t.Run(d.check+": "+d.what, func(t *testing.T) {
			t.Parallel()
			d.try(t, func(s *stand, c *Config) { c.Login = s.answers(true) })
		})
	}
	for _, name := range Names() {
		if strings.HasPrefix(name, "login.") && !tried[name] {
			t.Errorf("no defect for %s", name)
		}
	}
}
