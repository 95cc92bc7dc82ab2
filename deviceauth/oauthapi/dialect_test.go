package oauthapi_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/textproto"
	"net/url"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/internal/gatewaytest"
)

// Each file of testdata/dialects is a conversation of a device with the product for
// which it was written. A name in <angle brackets> stands for any value the first
// time, and for the same value afterwards; <any> always matches.
func TestDialectsAnswerAsDocumented(t *testing.T) {
	for _, name := range oauthapi.Dialects() {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile("testdata/dialects/" + name + ".http")
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				talk := &conversation{Site: gatewaytest.New(t, dialectClients), names: map[string]string{}}
				for _, step := range strings.Split("\n"+string(text), "\n=== ")[1:] {
					talk.step(step)
				}
			})
		})
	}
}

func dialectClients(c *deviceauth.Config) {
	c.Clients[0].Scope = "openid profile email offline_access read"
}

type conversation struct {
	*gatewaytest.Site
	names map[string]string
	about string // the step
}

// step is a title, @what happens before it, a request, --- and its answer.
func (c *conversation) step(text string) {
	c.Helper()
	request, answer, found := strings.Cut(text, "\n---\n")
	title, request, _ := strings.Cut(request, "\n")
	if c.about = title; !found {
		c.Fatalf("%s: there is no answer", title)
	}
	for strings.HasPrefix(request, "@") {
		var order string
		order, request, _ = strings.Cut(request, "\n")
		c.happen(strings.Fields(order[1:]))
	}
	for name, value := range c.names {
		request = strings.ReplaceAll(request, "<"+name+">", value)
	}
	line, rest, _ := strings.Cut(request, "\n")
	headers, body, _ := strings.Cut(rest, "\n\n")
	method, path, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, path, strings.NewReader(strings.TrimSpace(body)))
	r.Header = c.headers(headers)
	c.expect(c.Do(r), answer)
}

func (c *conversation) headers(text string) http.Header {
	h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimSpace(text) + "\n\n"))).ReadMIMEHeader()
	if err != nil {
		c.Fatalf("%s: %v", c.about, err)
	}
	return http.Header(h)
}

// happen does what others than the device do.
func (c *conversation) happen(order []string) {
	switch order[0] {
	case "new":
		delete(c.names, "code")
		delete(c.names, "user")
	case "from":
		c.Site.From = netip.MustParseAddr(order[1])
	case "sleep":
		d, err := time.ParseDuration(order[1])
		if err != nil {
			c.Fatal(err)
		}
		time.Sleep(d)
	case "allow", "deny":
		g, err := c.Engine.Inspect(c.Context(),
			deviceauth.InspectRequest{Person: c.Upstream.Person, From: c.From, Code: c.names["user"]})
		if err != nil {
			c.Fatalf("%s: %v", c.about, err)
		}
		if _, err := c.Engine.Answer(c.Context(),
			deviceauth.AnswerRequest{Grant: g.ID, Allow: order[0] == "allow", Person: c.Upstream.Person,
				From: c.From}); err != nil {
			c.Fatalf("%s: %v", c.about, err)
		}
	default:
		c.Fatalf("%s: nobody knows how to %s", c.about, order[0])
	}
}

// expect compares an answer: its status and type, the headers named, the body,
// and the claims of its ID token where they are named.
func (c *conversation) expect(w *httptest.ResponseRecorder, want string) {
	c.Helper()
	scanner := bufio.NewScanner(strings.NewReader(want))
	scanner.Scan()
	status, kind, _ := strings.Cut(scanner.Text(), " ")
	if strconv.Itoa(w.Code) != status || w.Header().Get("Content-Type") != kind {
		c.Errorf("%s: got %d %s, want %s: %s", c.about, w.Code, w.Header().Get("Content-Type"), scanner.Text(), w.Body)
		return
	}
	for scanner.Scan() {
		line := scanner.Text()
		claims, idToken := strings.CutPrefix(line, "id_token ")
		name, value, isHeader := strings.Cut(line, ": ")
		switch {
		case line == "":
		case strings.HasPrefix(line, "{"):
			c.same("", decode(c.T, w.Body.Bytes()), decode(c.T, []byte(line)))
		case idToken:
			c.same("id_token", idClaims(c.T, gatewaytest.JSON(c.T, w)["id_token"].(string)),
				decode(c.T, []byte(claims)))
		case isHeader:
			if got := w.Header().Get(name); got != value {
				c.Errorf("%s: %s: got %q, want %q", c.about, name, got, value)
			}
		default:
			c.same("", formMembers(c.T, w.Body.String()), formMembers(c.T, line))
		}
	}
}

func decode(t *testing.T, text []byte) (v any) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Errorf("%s: %v", text, err)
	}
	return v
}

func idClaims(t *testing.T, token string) any {
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, payload)
}

func formMembers(t *testing.T, text string) any {
	t.Helper()
	values, err := url.ParseQuery(text)
	if err != nil {
		t.Error(err)
	}
	members := map[string]any{}
	for name := range values {
		members[name] = values.Get(name)
	}
	return members
}

// same compares decoded values, member by member.
func (c *conversation) same(where string, got, want any) {
	c.Helper()
	object, isObject := want.(map[string]any)
	if !isObject {
		pattern, isText := want.(string)
		if isText && !c.fits(got, pattern) || !isText && got != want {
			c.Errorf("%s: %s is %v, want %v", c.about, where, got, want)
		}
		return
	}
	members, _ := got.(map[string]any)
	for name := range members {
		if _, wanted := object[name]; !wanted {
			c.Errorf("%s: %s.%s is there, and should not be", c.about, where, name)
		}
	}
	shortest := func(a, b string) int { return len(fmt.Sprint(object[a])) - len(fmt.Sprint(object[b])) }
	for _, name := range slices.SortedFunc(maps.Keys(object), shortest) { // <user> before the sentence that has it
		if value, there := members[name]; there {
			c.same(where+"."+name, value, object[name])
		} else {
			c.Errorf("%s: %s.%s is not there", c.about, where, name)
		}
	}
}

// fits compares a value with a pattern, and remembers the value of a new name.
func (c *conversation) fits(got any, pattern string) bool {
	if pattern == "<any>" {
		return got != nil && !reflect.ValueOf(got).IsZero()
	}
	text, isText := got.(string)
	name := strings.Trim(pattern, "<>")
	if pattern == "<"+name+">" && c.names[name] == "" {
		c.names[name] = text
		return text != ""
	}
	for name, value := range c.names {
		pattern = strings.ReplaceAll(pattern, "<"+name+">", value)
	}
	return isText && text == pattern
}

func TestDialectsAreSilentUnlessAskedFor(t *testing.T) {
	s := gatewaytest.New(t)
	for _, path := range []string{"/oauth/token", "/login/oauth/access_token", "/token", "/common/oauth2/v2.0/token",
		"/oauth2/v2"} {
		if !s.Serves(path) {
			t.Errorf("%s is not served with all dialects on", path)
		}
	}
	for _, path := range []string{"/a/b/oauth2/v2.0/token", "//oauth2/v2.0/token", "/oauth2/v2.0/token", "/{tenant}"} {
		if s.Serves(path) {
			t.Errorf("%s is served", path)
		}
	}
	plain, err := gateway.NewHandler(gateway.HandlerConfig{Engine: s.Engine, Keys: s.Keys,
		CookieKey: func() [32]byte { return [32]byte{1} }})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/oauth/token", "/login/oauth/access_token", "/token", "/common/oauth2/v2.0/token",
		"/oauth2/v2"} {
		if plain.Serves(path) {
			t.Errorf("%s is served without its dialect", path)
		}
	}
}

// An issuer with a path has everything below it, dialects too, and nothing
// beside it.
func TestDialectsAreBelowTheIssuersPath(t *testing.T) {
	s := gatewaytest.New(t, func(c *deviceauth.Config) { c.Issuer = "https://api.example.com/foo" })
	for path, want := range map[string]bool{
		"/foo/oauth/token": true, "/foo/common/oauth2/v2.0/token": true, "/oauth/token": false,
		"/common/oauth2/v2.0/token": false,
		"/foobar/oauth2/v2.0/token": false, "/foobar/v2.0/.well-known/openid-configuration": false,
	} {
		if s.Serves(path) != want {
			t.Errorf("%s is served: %v", path, !want)
		}
	}
	check := func(token string) error {
		return oauthapi.CheckDialects([]string{"github"}, oauthapi.Paths{Token: token}, "https://api.example.com/foo")
	}
	if check("/foo/login/oauth/access_token") == nil || check("/login/oauth/access_token") != nil {
		t.Error("paths are compared without the issuer's")
	}
}

func TestDialectConfiguration(t *testing.T) {
	if err := oauthapi.CheckDialects(oauthapi.Dialects(), oauthapi.Paths{}, "https://api.example.com"); err != nil ||
		!slices.IsSorted(oauthapi.Dialects()) {
		t.Errorf("%v, %v", oauthapi.Dialects(), err)
	}
	for _, names := range [][]string{{"okta"}, {"auth0", "auth0"}} {
		if err := oauthapi.CheckDialects(names, oauthapi.Paths{}, "https://api.example.com"); err == nil {
			t.Errorf("%v is accepted", names)
		}
	}
	for name, paths := range map[string]oauthapi.Paths{"auth0": {Token: "/oauth/token"},
		"codeontime": {Introspect: "/oauth2/v2/tokeninfo"}, "entra": {Token: "/x/oauth2/v2.0/token"}} {
		if err := oauthapi.CheckDialects([]string{name}, paths, "https://api.example.com"); err == nil {
			t.Errorf("%s: one path for two endpoints is accepted: %+v", name, paths)
		}
	}
}
