package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp/idptest"
)

// serve runs the program of docs/go.md in front of an API that writes the headers it
// got.
func serve(t *testing.T) (address string) {
	t.Helper()
	provider := idptest.Start()
	t.Cleanup(provider.Close)
	provider.Behave(idptest.Behaviour{Claims: map[string]any{"preferred_username": "alice"}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = "http://" + listener.Addr().String()
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "user=%s cookie=%s authorization=%s",
			r.Header.Get("Remote-User"), r.Header.Get("Cookie"), r.Header.Get("Authorization"))
	})
	handler, err := protect(t.Context(), address, provider.URL, memstore.New(), api)
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: handler}}
	server.Start()
	t.Cleanup(server.Close)
	return address
}

// ask sends a request, and returns the response with its body.
func ask(
	t *testing.T, c *http.Client, method, address string, form url.Values, headers ...string,
) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

var (
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"[^>]*>`)
	refreshTo   = regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]*)"`)
	metadataURL = regexp.MustCompile(`resource_metadata="([^"]*)"`)
)

// fields are the hidden ones of a page's first form, with some more.
func fields(page string, more ...string) url.Values {
	form := url.Values{}
	first, _, _ := strings.Cut(page, "</form>")
	for _, field := range hiddenField.FindAllStringSubmatch(first, -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	for i := 0; i < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return form
}

// allow is a user who enters the code, signs in and approves.
func allow(t *testing.T, address, code string) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	_, page := ask(t, browser, "GET", address+"/device", nil)
	_, page = ask(t, browser, "POST", address+"/device", fields(page, "user_code", code))
	for next := refreshTo.FindStringSubmatch(page); next != nil; next = refreshTo.FindStringSubmatch(page) {
		to := html.UnescapeString(next[1])
		if strings.HasPrefix(to, "/") {
			to = address + to
		}
		_, page = ask(t, browser, "GET", to, nil)
	}
	_, page = ask(t, browser, "POST", address+"/device/confirm", fields(page, "answer", "allow"))
	if !strings.Contains(page, "allowed") {
		t.Fatalf("the last page is %s", page)
	}
}

// A device logs in, the guard lets it through, and the challenge leads to
// metadata that name the server.
func TestProgramOfTheDocumentationWorks(t *testing.T) {
	t.Parallel()
	address := serve(t)
	c := http.DefaultClient
	refused, _ := ask(t, c, "GET", address+"/products", nil)
	at := metadataURL.FindStringSubmatch(refused.Header.Get("WWW-Authenticate"))
	if refused.StatusCode != http.StatusUnauthorized || at == nil {
		t.Fatalf("without a token: %d %v", refused.StatusCode, refused.Header)
	}
	res, about := ask(t, c, "GET", at[1], nil)
	if res.StatusCode != http.StatusOK || !strings.Contains(about, `"authorization_servers":["`+address+`"]`) {
		t.Errorf("the description is %d %s", res.StatusCode, about)
	}
	_, text := ask(t, c, "POST", address+"/oauth2/device_authorization", url.Values{"client_id": {"tv"}})
	var code struct {
		Device string `json:"device_code"`
		User   string `json:"user_code"`
	}
	if err := json.Unmarshal([]byte(text), &code); err != nil || code.User == "" {
		t.Fatalf("%v: %s", err, text)
	}
	allow(t, address, code.User)
	_, text = ask(t, c, "POST", address+"/oauth2/token", url.Values{
		"client_id": {"tv"}, "device_code": {code.Device},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	})
	var tokens struct {
		Access string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(text), &tokens); err != nil || tokens.Access == "" {
		t.Fatalf("%v: %s", err, text)
	}
	res, body := ask(t, c, "GET", address+"/products", nil,
		"Authorization", "Bearer "+tokens.Access, "Remote_User", "mallory", "Cookie", "device_session=x; theme=dark")
	if body != "user=alice cookie=theme=dark authorization=" || res.Header.Get("Cache-Control") != "private" {
		t.Errorf("the API answers %s, %v", body, res.Header)
	}
	for target, want := range map[string]int{"/..;/products": 400, "/products%2f..": 400} {
		res, _ := ask(t, c, "GET", address+target, nil, "Authorization", "Bearer "+tokens.Access)
		if res.StatusCode != want {
			t.Errorf("%s is answered %d", target, res.StatusCode)
		}
	}
	revoked, _ := ask(t, c, "POST", address+"/oauth2/revoke", url.Values{"client_id": {"tv"}, "token": {tokens.Access}})
	res, _ = ask(t, c, "GET", address+"/products", nil, "Authorization", "Bearer "+tokens.Access)
	if revoked.StatusCode != 200 || res.StatusCode != 401 {
		t.Errorf("after its revocation (%d) the API answers %d", revoked.StatusCode, res.StatusCode)
	}
}

// The program in the documentation is the tested one.
func TestDocumentationHasTheProgram(t *testing.T) {
	page, err := os.ReadFile("../../docs/go.md")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	begin := strings.Index(string(source), "// protect puts")
	end := begin + strings.Index(string(source)[begin:], "\n}\n") + len("\n}\n")
	names := strings.NewReplacer("idptest.ClientID", `"gateway"`, "idptest.ClientSecret", "secret")
	program := names.Replace(string(source)[begin:end])
	if !strings.Contains(string(page), program) {
		t.Errorf("docs/go.md does not have this program:\n%s", program)
	}
}

// A configuration that lacks something is an error.
func TestMistakesAreTold(t *testing.T) {
	ctx, storage := context.Background(), memstore.New()
	upstream := upstreamidp.Config{ID: "work", Issuer: "https://id.example.com", ClientID: "gateway"}
	for name, c := range map[string]gateway.Config{
		"no upstream": {Login: deviceauth.Config{Issuer: "https://api.example.com"}},
		"no issuer":   {Upstreams: []upstreamidp.Config{upstream}},
		"no algorithm": {
			Login:     deviceauth.Config{Issuer: "https://api.example.com"},
			Upstreams: []upstreamidp.Config{upstream}, Signing: "none",
		},
	} {
		if _, err := gateway.Open(ctx, storage, c); err == nil {
			t.Errorf("%s: it opens", name)
		}
	}
	login, err := gateway.Open(ctx, storage, gateway.Config{
		Login: deviceauth.Config{Issuer: "https://api.example.com"}, Upstreams: []upstreamidp.Config{upstream},
	})
	if err != nil {
		t.Fatal(err)
	}
	login.Close()
	if w := httptest.NewRecorder(); true {
		login.Guard(http.NotFoundHandler(), guard.Options{}).ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		if w.Code != http.StatusUnauthorized {
			t.Errorf("without a token: %d", w.Code)
		}
	}
}
