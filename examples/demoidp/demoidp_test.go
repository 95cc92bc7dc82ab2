package demoidp

import (
	"context"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const callback = "http://localhost:8080/device/callback"

// party is a relying party over a running provider, and a browser.
type party struct {
	*testing.T
	oidc    *oidc.Provider
	config  oauth2.Config
	browser *http.Client
	url     string
}

func newParty(t *testing.T) *party {
	t.Helper()
	ts := httptest.NewUnstartedServer(nil)
	ts.Start()
	t.Cleanup(ts.Close)
	p, err := newProvider(ts.URL, client{"gateway", "secret", callback})
	if err != nil {
		t.Fatal(err)
	}
	ts.Config.Handler = p.mux
	provider, err := oidc.NewProvider(t.Context(), ts.URL)
	if err != nil {
		t.Fatal(err)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &party{t, provider, oauth2.Config{
		ClientID: "gateway", ClientSecret: "secret", Endpoint: provider.Endpoint(), RedirectURL: callback, Scopes: []string{"openid", "profile", "email", "groups"},
	}, &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}}, ts.URL}
}

var verifier = strings.Repeat("verifier", 6)

// open asks to sign in, and returns the page or the callback's query.
func (p *party) open(options ...oauth2.AuthCodeOption) (page string, answer url.Values) {
	p.Helper()
	options = append(options, oidc.Nonce("nonce"), oauth2.S256ChallengeOption(verifier))
	return p.read(p.browser.Get(p.config.AuthCodeURL("state", options...)))
}

func (p *party) read(response *http.Response, err error) (page string, answer url.Values) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
	defer response.Body.Close()
	if to, err := response.Location(); err == nil {
		return "", to.Query()
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.Fatal(err)
	}
	return string(body), nil
}

func (p *party) choose(page, user string) url.Values {
	p.Helper()
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(page)
	if id == nil {
		p.Fatalf("no form on the page:\n%s", page)
	}
	_, answer := p.read(p.browser.PostForm(p.url+"/login", url.Values{"id": {html.UnescapeString(id[1])}, "user": {user}}))
	return answer
}

func (p *party) claims(answer url.Values) (id, info map[string]any) {
	p.Helper()
	if answer.Get("state") != "state" {
		p.Fatalf("came back with %v", answer)
	}
	token, err := p.config.Exchange(p.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		p.Fatal(err)
	}
	raw, _ := token.Extra("id_token").(string)
	verified, err := p.oidc.Verifier(&oidc.Config{ClientID: "gateway", SupportedSigningAlgs: []string{"ES256"}}).Verify(p.Context(), raw)
	if err != nil || verified.Nonce != "nonce" {
		p.Fatalf("%v, %v", verified, err)
	}
	user, err := p.oidc.UserInfo(p.Context(), oauth2.StaticTokenSource(token))
	if err != nil {
		p.Fatal(err)
	}
	if err := verified.Claims(&id); err != nil {
		p.Fatal(err)
	}
	if err := user.Claims(&info); err != nil {
		p.Fatal(err)
	}
	return id, info
}

func TestBothSignInWithOneClick(t *testing.T) {
	for _, a := range accounts {
		t.Run(a.ID, func(t *testing.T) {
			p := newParty(t)
			page, _ := p.open()
			id, info := p.claims(p.choose(page, a.ID))
			for _, claims := range []map[string]any{id, info} {
				groups, _ := claims["groups"].([]any)
				if claims["sub"] != "demo-"+a.ID || claims["name"] != a.Name() || claims["email"] != a.Email() || claims["email_verified"] != true ||
					claims["preferred_username"] != a.ID || claims["picture"] != p.url+"/avatar/"+a.ID+".svg" || len(groups) != len(a.Groups) {
					t.Errorf("claims %v", claims)
				}
			}
			picture, err := http.Get(id["picture"].(string))
			if err != nil || picture.StatusCode != 200 || picture.Header.Get("Content-Type") != "image/svg+xml" {
				t.Errorf("the picture: %v, %v", picture, err)
			}
		})
	}
}

func TestSecondSignInAsksOnlyWhereItIsWanted(t *testing.T) {
	p := newParty(t)
	page, _ := p.open()
	p.choose(page, "alice")
	if _, answer := p.open(); answer.Get("code") == "" {
		t.Error("who has signed in is asked again")
	}
	page, _ = p.open(oauth2.SetAuthURLParam("prompt", "select_account"))
	if id, _ := p.claims(p.choose(page, "bob")); id["preferred_username"] != "bob" {
		t.Errorf("chose bob, got %v", id)
	}
}

func TestOnlyTheGatewayIsServed(t *testing.T) {
	p := newParty(t)
	p.config.RedirectURL = "http://localhost:9999/evil"
	if page, answer := p.open(); answer != nil || strings.Contains(page, "Who are you?") {
		t.Errorf("another redirect URI: %v\n%s", answer, page)
	}
	p.config.RedirectURL = callback
	page, _ := p.open()
	answer := p.choose(page, "alice")
	p.config.ClientSecret = "guess"
	if _, err := p.config.Exchange(p.Context(), answer.Get("code"), oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a wrong secret is good enough")
	}
	if answer := p.choose(page, "mallory"); answer != nil {
		t.Errorf("a stranger signed in: %v", answer)
	}
}

func TestIssuerBeyondThisMachineIsRefused(t *testing.T) {
	for _, issuer := range []string{"https://login.example.com", "http://192.0.2.1:8081", "http://localhost.evil.example", "localhost:8081", ""} {
		h := &Handler{Issuer: issuer, ClientID: "a", ClientSecret: "b", RedirectURI: "c"}
		if err := h.Provision(caddy.Context{}); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%q: %v", issuer, err)
		}
		if err := h.Cleanup(); err != nil {
			t.Errorf("cleaning up what was never held: %v", err)
		}
	}
}

func TestRequestFromBeyondThisMachineIsRefused(t *testing.T) {
	tests := []struct {
		here, there string
		ok          bool
	}{
		{"127.0.0.1:8081", "127.0.0.1:40000", true},
		{"[::1]:8081", "[::1]:40000", true},
		{"192.0.2.1:8081", "127.0.0.1:40000", false},
		{"127.0.0.1:8081", "192.0.2.9:40000", false},
	}
	for _, test := range tests {
		addr, err := net.ResolveTCPAddr("tcp", test.here)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, addr))
		r.RemoteAddr = test.there
		if local(r) != test.ok {
			t.Errorf("from %s at %s: served is not %v", test.there, test.here, test.ok)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"good", "demo_idp {\n issuer http://localhost:8081\n client a b c\n}", ""},
		{"an argument", "demo_idp x", "argument"},
		{"an unknown word", "demo_idp {\n user alice\n}", `no subdirective "user"`},
		{"half a client", "demo_idp {\n client a\n}", "client: want"},
		{"no issuer", "demo_idp {\n issuer\n}", "issuer: want"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := new(Handler)
			err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if test.want == "" && (err != nil || h.RedirectURI != "c") || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %+v, %v", h, err)
			}
		})
	}
}
