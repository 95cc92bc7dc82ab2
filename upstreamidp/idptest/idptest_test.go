package idptest

import (
	"net/http"
	"net/url"
	"testing"
)

// A lenient provider would prove nothing about its relying parties.
func TestProviderIsStrictAboutRequests(t *testing.T) {
	p := Start()
	defer p.Close()
	good := url.Values{
		"client_id": {ClientID}, "response_type": {"code"}, "scope": {"openid"},
		"redirect_uri":   {"https://api.example.com/callback"},
		"code_challenge": {"c"}, "code_challenge_method": {"S256"}, "state": {"s"},
	}
	for name, wrong := range map[string]string{"client_id": "x", "response_type": "token", "scope": "email",
		"code_challenge": "", "code_challenge_method": "plain", "": ""} {
		asked, _ := url.ParseQuery(good.Encode())
		asked.Set(name, wrong)
		answer, err := p.Visit(p.URL + "/authorize?" + asked.Encode())
		if good := name == ""; (err == nil) != good ||
			good && (answer.Get("state") != "s" || answer.Get("code") == "") {
			t.Errorf("%s=%q: %v, %v", name, wrong, answer, err)
		}
	}
}

func TestProviderIsStrictAboutTokens(t *testing.T) {
	p := Start()
	defer p.Close()
	answer, err := p.Client().PostForm(p.URL+"/token",
		url.Values{"client_id": {ClientID}, "client_secret": {ClientSecret}, "code": {"unknown"}})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown code: %s", answer.Status)
	}
	if answer, err = p.Client().Get(p.URL + "/userinfo"); err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("userinfo without a token: %s", answer.Status)
	}
}
