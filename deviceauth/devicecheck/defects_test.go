package devicecheck

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A defect is one thing that is wrong, and the one check that says so.
type defect struct {
	what  string
	check string
	want  Status
	mend  string // a part of it

	tamper func(*http.Request, *httptest.ResponseRecorder) // breaks an answer
	stand  func(*stand)                                    // or something else
	config func(*Config)                                   // or what is asked
	engine func(*deviceauth.Config)
}

type tampering = func(*http.Request, *httptest.ResponseRecorder)

// at breaks the answers of one path.
func at(path string, do func(*httptest.ResponseRecorder)) tampering {
	return func(q *http.Request, w *httptest.ResponseRecorder) {
		if q.URL.Path == path {
			do(w)
		}
	}
}

// setMember puts another member into the JSON of a response, or with nil takes it out.
func setMember(name string, value any) func(*httptest.ResponseRecorder) {
	return func(w *httptest.ResponseRecorder) {
		members(w, func(v map[string]any) {
			if v[name] = value; value == nil {
				delete(v, name)
			}
		})
	}
}

// extendMember appends to a text in the JSON of a response.
func extendMember(name, suffix string) func(*httptest.ResponseRecorder) {
	return func(w *httptest.ResponseRecorder) {
		members(w, func(v map[string]any) { v[name] = v[name].(string) + suffix })
	}
}

func header(name, value string) func(*httptest.ResponseRecorder) {
	return func(w *httptest.ResponseRecorder) {
		if w.Header().Set(name, value); value == "" {
			w.Header().Del(name)
		}
	}
}

func status(code int) func(*httptest.ResponseRecorder) {
	return func(w *httptest.ResponseRecorder) { w.Code = code }
}

// when breaks the answers whose body has a text.
func when(text string, do func(*httptest.ResponseRecorder)) func(*httptest.ResponseRecorder) {
	return func(w *httptest.ResponseRecorder) {
		if strings.Contains(w.Body.String(), text) {
			do(w)
		}
	}
}

// key changes the published key.
func key(change func(map[string]any)) tampering {
	return at("/oauth2/jwks", func(w *httptest.ResponseRecorder) {
		members(w, func(v map[string]any) { change(v["keys"].([]any)[0].(map[string]any)) })
	})
}

// both breaks both metadata documents.
func both(do func(*httptest.ResponseRecorder)) tampering {
	return func(q *http.Request, w *httptest.ResponseRecorder) {
		if q.URL.Path == oauthName || q.URL.Path == openIDName {
			do(w)
		}
	}
}

// choices adds ways to sign in, with a parameter of their own, to the page
// that has some.
func choices(count int, parameter string) tampering {
	return func(_ *http.Request, w *httptest.ResponseRecorder) {
		if text := w.Body.String(); strings.Contains(text, "with=home") {
			w.Body.Reset()
			w.Body.WriteString(text)
			for i := range count {
				fmt.Fprintf(w.Body, `<a href="?with=work&amp;%s%d">x</a>`, parameter, i)
			}
		}
	}
}

// asked breaks the answers to requests that carry a parameter.
func asked(path, name, value string, do func(*httptest.ResponseRecorder)) func(*stand) {
	return func(s *stand) {
		s.before = func(q *http.Request) {
			if q.URL.Path == path && q.Method == http.MethodPost {
				copyForm(q)
			}
		}
		s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
			if q.URL.Path == path && q.Form.Get(name) == value {
				do(w)
			}
		}
	}
}

func answering(code int, text string) func(*httptest.ResponseRecorder) {
	return func(w *httptest.ResponseRecorder) {
		w.Code = code
		w.Body.Reset()
		w.Body.WriteString(text)
	}
}

var (
	started = time.Now().Add(-2 * time.Minute)
	ago     = started.UTC().Format(http.TimeFormat)
)

// defects are those that need no login.
var defects = []defect{
	{what: "a redirect", check: "reach.http", want: Warn, mend: "do not follow redirects",
		tamper: at(oauthName+"/api/things", func(w *httptest.ResponseRecorder) {
			w.Code = 301
			w.Header().Set("Location", "https://elsewhere.example/")
		})},
	{what: "no guard", check: "resource.guard", want: Fail, mend: "`device_auth /api/*`",
		tamper: at("/api/things", answering(200, "open"))},
	{what: "an optional guard", check: "resource.guard", want: Warn, mend: "`optional`", stand: func(s *stand) {
		s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
			if q.URL.Path == "/api/things" && q.Header.Get("Authorization") == "" && q.Method == http.MethodGet {
				answering(200, "open")(w)
			}
		}
	}},
	{what: "a guard of another kind", check: "resource.guard", want: Fail, mend: "`basic_auth`",
		tamper: at("/api/things", header("WWW-Authenticate", "Basic"))},
	{what: "a fault before the guard", check: "resource.guard", want: Fail, mend: "log",
		tamper: at("/api/things", status(502))},
	{what: "nothing there", check: "resource.guard", want: Warn, mend: "`device_auth /else/*`",
		config: func(c *Config) { c.URL = strings.Replace(c.URL, "/api/", "/else/", 1) }},
	{what: "a challenge that does not describe the resource", check: "resource.guard", want: Warn, mend: "RFC 9728",
		tamper: at("/api/things", func(w *httptest.ResponseRecorder) {
			before, _, _ := strings.Cut(w.Header().Get("WWW-Authenticate"), ", resource_metadata")
			header("WWW-Authenticate", before)(w)
		})},
	{what: "a guard that takes any token", check: "resource.token", want: Fail, mend: "any token",
		stand: func(s *stand) {
			s.tamper = func(q *http.Request, w *httptest.ResponseRecorder) {
				if q.Header.Get("Authorization") == "Bearer "+madeUp {
					answering(200, "in")(w)
					header("Cache-Control", "no-store")(w)
				}
			}
		}},
	{what: "a bad token that is told something else", check: "resource.token", want: Fail, mend: "invalid_token",
		tamper: at("/api/things", func(w *httptest.ResponseRecorder) {
			header("WWW-Authenticate", strings.Replace(w.Header().Get("WWW-Authenticate"), "invalid_token", "x", 1))(w)
		})},
	{what: "refusals in caches", check: "resource.cache", want: Warn, mend: "no-store",
		tamper: at("/api/things", header("Cache-Control", "max-age=60"))},
	{what: "metadata of the API that are lost", check: "resource.metadata", want: Fail, mend: "/.well-known/",
		tamper: at(resourceName, status(404))},
	{what: "metadata of the API that are a page", check: "resource.metadata", want: Fail, mend: "/.well-known/",
		tamper: at(resourceName, header("Content-Type", "text/html"))},
	{what: "an API by another name", check: "resource.name", want: Fail, mend: "Host",
		tamper: at(resourceName, setMember("resource", "https://backend.internal"))},
	{what: "an API below another path", check: "resource.name", want: Fail, mend: "Host",
		tamper: at(resourceName, extendMember("resource", "/ap"))},
	{what: "an API without a server", check: "resource.servers", want: Fail, mend: "`issuer`",
		tamper: at(resourceName, setMember("authorization_servers", nil))},
	{what: "a server without TLS", check: "server.reach", want: Fail, mend: "https",
		tamper: at(resourceName, setMember("authorization_servers", []string{"http://login.example.com"}))},
	{what: "a server that nobody knows", check: "server.reach", want: Fail, mend: "DNS",
		tamper: at(resourceName, setMember("authorization_servers", []string{"https://nobody.invalid"}))},
	{what: "a clock that is late", check: "clock", want: Fail, mend: "NTP",
		tamper: func(_ *http.Request, w *httptest.ResponseRecorder) { header("Date", ago)(w) }},

	{what: "no RFC 8414", check: "metadata.oauth", want: Warn, mend: oauthName, tamper: at(oauthName, status(404))},
	{what: "no OpenID Connect Discovery", check: "metadata.openid", want: Warn, mend: "pass this path",
		tamper: at(openIDName, status(404))},
	{what: "no metadata", check: "metadata.oauth", want: Fail, mend: "`device_login`", tamper: both(status(404))},
	{what: "metadata as text", check: "metadata.type", want: Fail, mend: "Content-Type",
		tamper: at(openIDName, header("Content-Type", "text/plain"))},
	{what: "another issuer", check: "metadata.issuer", want: Fail, mend: "say `issuer https://127.0.0.1",
		tamper: at(openIDName, setMember("issuer", "https://other.example"))},
	{what: "a slash too many", check: "metadata.issuer", want: Fail, mend: "same way everywhere",
		tamper: at(oauthName, extendMember("issuer", "/"))},
	{what: "no device flow", check: "metadata.endpoints", want: Fail, mend: "RFC 8628 §4",
		tamper: both(setMember("device_authorization_endpoint", nil))},
	{what: "an endpoint without TLS", check: "metadata.endpoints", want: Fail, mend: "`issuer` say https",
		tamper: both(setMember("revocation_endpoint", "http://api.example.com/revoke"))},
	{what: "an endpoint elsewhere", check: "metadata.endpoints", want: Warn, mend: "rewrites",
		tamper: both(setMember("introspection_endpoint", "https://other.example/"))},
	{what: "no device grant", check: "metadata.grants", want: Fail, mend: "RFC 8628 §4",
		tamper: both(setMember("grant_types_supported", []string{"refresh_token"}))},
	{what: "metadata that pages cannot read", check: "metadata.cors", want: Warn, mend: "Access-Control-Allow-Origin",
		tamper: at(oauthName, header("Access-Control-Allow-Origin", ""))},
	{what: "codes without PKCE", check: "browser.metadata", want: Warn, mend: "MCP clients",
		tamper: both(setMember("code_challenge_methods_supported", nil))},
	{what: "codes without iss", check: "browser.metadata", want: Warn, mend: "RFC 9207",
		tamper: both(setMember("authorization_response_iss_parameter_supported", nil))},
	{what: "a redirect to any site", check: "browser.redirect", want: Fail, mend: "RFC 6749 §4.1.2.1",
		tamper: func(q *http.Request, w *httptest.ResponseRecorder) {
			if q.URL.Path == "/oauth2/authorize" {
				status(303)(w)
				header("Location", q.URL.Query().Get("redirect_uri"))(w)
			}
		}},
	{what: "a page for any redirect", check: "browser.redirect", want: Warn, mend: "400",
		tamper: at("/oauth2/authorize", status(200))},
	{what: "a fault at the authorization endpoint", check: "browser.redirect", want: Fail, mend: "logs",
		tamper: at("/oauth2/authorize", status(502))},

	{what: "no keys", check: "keys.set", want: Fail, mend: "check tokens", tamper: at("/oauth2/jwks", status(404))},
	{what: "no key for signatures", check: "keys.set", want: Fail, mend: "keys list",
		tamper: key(func(k map[string]any) { k["use"] = "enc" })},
	{what: "a key without a name", check: "keys.named", want: Warn, mend: "guess",
		tamper: key(func(k map[string]any) { delete(k, "alg") })},
	{what: "a private key", check: "keys.secret", want: Fail, mend: "keys rotate",
		tamper: key(func(k map[string]any) { k["d"] = "c2VjcmV0" })},
	{what: "a symmetric key", check: "keys.secret", want: Fail, mend: "keys rotate",
		tamper: at("/oauth2/jwks", func(w *httptest.ResponseRecorder) {
			members(w, func(v map[string]any) {
				v["keys"] = append(v["keys"].([]any),
					map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"})
			})
		})},

	{what: "an unknown client", check: "device.code", want: Fail, mend: "`client radio`",
		config: func(c *Config) { c.ClientID = "radio" }},
	{what: "a wrong secret", check: "device.code", want: Fail, mend: "--client-secret-file",
		config: func(c *Config) { c.ClientID, c.ClientSecret = "meter", "wrong" }},
	{what: "a scope too many", check: "device.code", want: Fail, mend: "--scope",
		config: func(c *Config) { c.Scopes = []string{"write"} }},
	{what: "another audience", check: "device.code", want: Fail, mend: "`audience`",
		config: func(c *Config) { c.Audience = "https://other.example" }},
	{what: "a client with nothing to type", check: "device.members", want: Fail, mend: "proxy",
		tamper: at("/oauth2/device_authorization", setMember("user_code", nil))},
	{what: "codes for ever", check: "device.members", want: Warn, mend: "`lifetime device_code",
		engine: func(c *deviceauth.Config) { c.Lifetime.DeviceCode = 2 * time.Hour }},
	{what: "no interval", check: "device.members", want: Warn, mend: "`interval`",
		tamper: at("/oauth2/device_authorization", setMember("interval", nil))},
	{what: "device codes in caches", check: "device.cache", want: Fail, mend: "no-store",
		tamper: at("/oauth2/device_authorization", when("device_code", header("Cache-Control", "public")))},
	{what: "a code that another gateway does not know", check: "device.poll", want: Fail, mend: "`store redis`",
		tamper: at("/oauth2/token", when("authorization_pending", setMember("error", "invalid_grant")))},

	{what: "a page to who does not post", check: "errors.method", want: Fail, mend: "somewhere else",
		tamper: at("/oauth2/token", func(w *httptest.ResponseRecorder) {
			if w.Code == 405 {
				answering(200, "<html>")(w)
			}
		})},
	{what: "an open server", check: "errors.client", want: Fail, mend: "`client` blocks",
		stand: asked("/oauth2/device_authorization", "client_id", madeUp, setMember("error", "access_denied"))},
	{what: "a page instead of an error", check: "errors.grant", want: Fail, mend: "`handle_errors`",
		tamper: at("/oauth2/token", when("unsupported_grant_type", answering(400, "<html>")))},
	{what: "an unknown grant type by another name", check: "errors.grant", want: Fail, mend: "RFC 6749",
		tamper: at("/oauth2/token", when("unsupported_grant_type", setMember("error", "invalid_request")))},
	{what: "a fault", check: "errors.code", want: Fail, mend: "fault",
		tamper: at("/oauth2/token", when("invalid_grant", status(500)))},
	{what: "parameters that are read twice", check: "errors.repeated", want: Fail, mend: "RFC 6749 §3.2",
		tamper: at("/oauth2/token", when("repeated", setMember("error", "invalid_grant")))},
	{what: "errors as text", check: "errors.type", want: Fail, mend: "Content-Type",
		tamper: at("/oauth2/token", when("invalid_grant", header("Content-Type", "text/plain")))},
	{what: "errors in caches", check: "errors.cache", want: Warn, mend: "no-store",
		tamper: at("/oauth2/token", when("invalid_client", header("Cache-Control", "")))},
	{what: "pages of every origin", check: "cors.foreign", want: Warn, mend: "`origin` lines",
		tamper: at("/oauth2/token", header("Access-Control-Allow-Origin", "*"))},
	{what: "a page that is not listed", check: "cors.origin", want: Fail,
		mend:   "`origin https://other.example` into the block `client tv`",
		config: func(c *Config) { c.Origin = "https://other.example" }},
	{what: "preflights that get lost", check: "cors.origin", want: Fail, mend: "preflights",
		tamper: at("/api/things", header("Access-Control-Allow-Headers", "x"))},

	{what: "a page without TLS", check: "page.address", want: Fail, mend: "https",
		tamper: at("/oauth2/device_authorization", setMember("verification_uri", "http://api.example.com/device"))},
	{what: "a long address", check: "page.address", want: Warn, mend: "`device /d`",
		tamper: at("/oauth2/device_authorization", func(w *httptest.ResponseRecorder) {
			members(w, func(v map[string]any) {
				if uri, ok := v["verification_uri"].(string); ok {
					v["verification_uri"] = uri + "?from=" + strings.Repeat("x", 40)
				}
			})
		})},
	{what: "a lost page", check: "page.open", want: Fail, mend: "`device /connect`",
		tamper: at("/device", status(404))},
	{what: "a page in a frame", check: "page.policy", want: Warn, mend: "frame-ancestors",
		tamper: at("/device", func(w *httptest.ResponseRecorder) {
			w.Header().Del("Content-Security-Policy")
			w.Header().Del("X-Frame-Options")
		})},
	{what: "a page in a cache", check: "page.policy", want: Warn, mend: "no-store",
		tamper: at("/device", header("Cache-Control", "public"))},
	{what: "a form that is another site's", check: "page.code", want: Fail, mend: "Host", stand: func(s *stand) {
		s.before = func(q *http.Request) {
			if q.Method == http.MethodPost && q.URL.Path == "/device" {
				q.Header.Set("Sec-Fetch-Site", "cross-site")
			}
		}
	}},
	{what: "an upstream that is away", check: "page.upstream", want: Fail,
		mend: "<issuer>/.well-known/openid-configuration", stand: func(s *stand) { s.down = true }},
	{what: "a callback that is not registered", check: "page.upstream", want: Fail,
		mend: "/device/callback/work as redirect URI for the client gateway", stand: func(s *stand) {
			s.refuses = func(w http.ResponseWriter, _ *http.Request) bool {
				http.Error(w, "Invalid parameter: redirect_uri", http.StatusBadRequest)
				return true
			}
		}},
	{what: "a provider that refuses by a redirect", check: "page.upstream", want: Fail, mend: "`scopes`",
		stand: func(s *stand) {
			s.refuses = func(w http.ResponseWriter, q *http.Request) bool {
				http.Redirect(w, q, q.FormValue("redirect_uri")+"?error=invalid_scope&state="+q.FormValue("state"),
					http.StatusFound)
				return true
			}
		}},
	{what: "one provider of two that refuses", check: "page.upstream", want: Fail, mend: "Register",
		stand: func(s *stand) {
			s.refuses = func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path == "/home" {
					w.WriteHeader(http.StatusBadRequest)
				}
				return q.URL.Path == "/home"
			}
		}},
	{what: "a provider that refuses with status 200", check: "page.upstream", want: Fail, mend: "Register",
		stand: func(s *stand) {
			s.refuses = func(w http.ResponseWriter, _ *http.Request) bool {
				w.Write([]byte("<p>AADSTS50011: The redirect URI does not match"))
				return true
			}
		}},
	{what: "a provider that redirects for ever", check: "page.upstream", want: Fail, mend: "in a circle",
		stand: func(s *stand) {
			s.refuses = func(w http.ResponseWriter, q *http.Request) bool {
				http.Redirect(w, q, q.URL.Path+"?again", http.StatusFound)
				return true
			}
		}},
	{what: "a provider that redirects to where there is no TLS", check: "page.upstream", want: Fail, mend: "https",
		stand: func(s *stand) {
			s.refuses = func(w http.ResponseWriter, q *http.Request) bool {
				http.Redirect(w, q, "http://login.example/", http.StatusFound)
				return true
			}
		}},
	{what: "a form that goes elsewhere", check: "page.code", want: Fail, mend: "its own site",
		tamper: at("/device", func(w *httptest.ResponseRecorder) {
			text := strings.ReplaceAll(w.Body.String(), `action="`, `action="https://evil.example/`)
			w.Body.Reset()
			w.Body.WriteString(text)
		})},
	{what: "more upstreams than anybody has", check: "page.upstream", want: Warn, mend: "`upstream` lines",
		tamper: choices(3000, "again=")},
	{what: "a provider that fails behind its redirect", check: "page.upstream", want: Fail, mend: "Register",
		stand: func(s *stand) {
			s.refuses = func(w http.ResponseWriter, q *http.Request) bool {
				if q.URL.Path != "/error" {
					http.Redirect(w, q, "/error?authError=abc", http.StatusFound)
				}
				return true
			}
		}},
}

// A CDN may cache the metadata for five minutes, with the Date of the first response.
func TestCacheIsNoLateClock(t *testing.T) {
	t.Parallel()
	s := newStand(t)
	s.tamper = func(_ *http.Request, w *httptest.ResponseRecorder) {
		header("Date", ago)(w)
		header("Age", strconv.Itoa(int(time.Since(started).Seconds())))(w)
	}
	for _, r := range Run(t.Context(), s.config()) {
		if r.Status == Fail || r.Status == Warn {
			t.Errorf("%+v", r)
		}
	}
}

func TestEachDefectIsReportedByItsOwnCheck(t *testing.T) {
	t.Parallel()
	tried := map[string]bool{}
	for _, d := range defects {
		tried[d.check] = true
		t.Run(d.check+": "+d.what, func(t *testing.T) { t.Parallel(); d.try(t, nil) })
	}
	for _, name := range Names() {
		if !tried[name] && !strings.HasPrefix(name, "reach.") && !strings.HasPrefix(name, "login.") {
			t.Errorf("no defect for %s", name)
		}
	}
}

// try breaks one thing, and requires that only its check reports it.
func (d defect) try(t *testing.T, change func(*stand, *Config)) {
	s := newStand(t, func(c *deviceauth.Config) {
		if d.engine != nil {
			d.engine(c)
		}
	})
	c := s.config()
	if d.stand != nil {
		d.stand(s)
	}
	if d.tamper != nil {
		s.tamper = d.tamper
	}
	if d.config != nil {
		d.config(&c)
	}
	if change != nil {
		change(s, &c)
	}
	reports(t, Run(t.Context(), c), d.check, d.want, cmp.Or(d.mend, "."))
}
