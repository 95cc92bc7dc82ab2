package demoidp

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

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
	m, err := newMemory()
	if err != nil {
		t.Fatal(err)
	}
	p, err := newProvider(ts.URL, client{id: "gateway", secret: "secret", redirects: []string{callback}}, m)
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
	return &party{T: t, oidc: provider, config: oauth2.Config{
		ClientID: "gateway", ClientSecret: "secret", Endpoint: provider.Endpoint(), RedirectURL: callback,
		Scopes: []string{"openid", "profile", "email", "groups"},
	}, browser: &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), callback) {
			return http.ErrUseLastResponse
		}
		return nil
	}}, url: ts.URL}
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
	_, answer := p.read(p.browser.PostForm(p.url+"/login",
		url.Values{"id": {html.UnescapeString(id[1])}, "user": {user}}))
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
	verified, err := p.oidc.Verifier(&oidc.Config{ClientID: "gateway", SupportedSigningAlgs: []string{"ES256"}}).
		Verify(p.Context(), raw)
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
				if claims["sub"] != "demo-"+a.ID || claims["name"] != a.Name() || claims["given_name"] != a.Given ||
					claims["family_name"] != a.Family || claims["email"] != a.Email() ||
					claims["email_verified"] != true ||
					claims["preferred_username"] != a.ID || claims["picture"] != p.url+"/avatar/"+a.ID+".svg" ||
					len(groups) != len(a.Groups) {
					t.Errorf("claims %v", claims)
				}
			}
			if since, _ := id["auth_time"].(float64); time.Since(time.Unix(int64(since), 0)).Abs() > time.Minute {
				t.Errorf("auth_time %v", id["auth_time"])
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
	for _, straight := range []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("prompt", ""), oauth2.SetAuthURLParam("prompt", "none"),
		oauth2.SetAuthURLParam("max_age", "3600"),
	} {
		if _, answer := p.open(straight); answer.Get("code") == "" {
			t.Error("who has signed in is asked again")
		}
	}
	for _, ask := range []oauth2.AuthCodeOption{
		oauth2.SetAuthURLParam("prompt", "select_account"), oauth2.SetAuthURLParam("prompt", "login"),
		oauth2.SetAuthURLParam("max_age", "0"),
	} {
		if page, answer := p.open(ask); answer != nil || !strings.Contains(page, "Who are you?") {
			t.Errorf("came back with %v, want the page", answer)
		}
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

func TestPromptNoneShowsNoPage(t *testing.T) {
	p := newParty(t)
	if page, answer := p.open(oauth2.SetAuthURLParam("prompt", "none")); answer.Get("error") != "login_required" ||
		answer.Get("state") != "state" {
		t.Errorf("got %v\n%s", answer, page)
	}
}

func TestSignInWithoutS256IsRefused(t *testing.T) {
	for name, options := range map[string][]oauth2.AuthCodeOption{
		"no challenge": nil,
		"plain": {oauth2.SetAuthURLParam("code_challenge", verifier),
			oauth2.SetAuthURLParam("code_challenge_method", "plain")},
	} {
		p := newParty(t)
		page, answer := p.read(p.browser.Get(p.config.AuthCodeURL("state", options...)))
		if answer.Get("error") != "invalid_request" {
			t.Errorf("%s: got %v\n%s", name, answer, page)
		}
	}
	p := newParty(t)
	page, _ := p.open()
	answer := p.choose(page, "alice")
	if _, err := p.config.Exchange(t.Context(), answer.Get("code"),
		oauth2.VerifierOption("another"+verifier)); err == nil {
		t.Error("another verifier is good enough")
	}
	if _, err := p.config.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier)); err == nil {
		t.Error("a code works twice")
	}
}

func TestScopesOpenTheClaims(t *testing.T) {
	p := newParty(t)
	p.config.Scopes = []string{"openid", "email"}
	page, _ := p.open()
	id, info := p.claims(p.choose(page, "alice"))
	for _, claims := range []map[string]any{id, info} {
		if claims["email"] != "alice@example.com" || claims["name"] != nil || claims["groups"] != nil {
			t.Errorf("asked for email, got %v", claims)
		}
	}
}

func TestPageRunsNothingAndLeadsBackOnly(t *testing.T) {
	p := newParty(t)
	response, err := p.browser.Get(p.config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)))
	if err != nil {
		t.Fatal(err)
	}
	page, _ := p.read(response, nil)
	policy := response.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") ||
		!strings.Contains(policy, "form-action 'self' http://localhost:8080;") {
		t.Errorf("policy %q", policy)
	}
	for _, inline := range []string{"<script", "<style", "style=", " onclick"} {
		if strings.Contains(page, inline) {
			t.Errorf("%s on the page", inline)
		}
	}
	for _, a := range accounts {
		if want := `<button name="user" value="` + a.ID + `" id="` + a.ID + `">`; !strings.Contains(page, want) {
			t.Errorf("no %s", want)
		}
	}
	for path, status := range map[string]int{"/": 200, "/login.css": 200, "/avatar/bob.svg": 200,
		"/avatar/login.html": 404, "/pages/login.html": 404, "/login?id=guess": 400} {
		response, err := p.browser.Get(p.url + path)
		if err != nil || response.StatusCode != status {
			t.Errorf("%s: %v, %v", path, response, err)
		}
	}
}

func TestClickOnAnotherSitesPageIsNone(t *testing.T) {
	p := newParty(t)
	page, _ := p.open()
	id := regexp.MustCompile(`name="id" value="([^"]+)"`).FindStringSubmatch(page)[1]
	r, err := http.NewRequestWithContext(t.Context(), "POST", p.url+"/login",
		strings.NewReader(url.Values{"id": {id}, "user": {"alice"}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	response, err := p.browser.Do(r)
	if err != nil || response.StatusCode != http.StatusBadRequest {
		t.Errorf("%v, %v", response, err)
	}
}
