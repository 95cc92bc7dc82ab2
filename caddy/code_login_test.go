package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// A codeLogin is a login by the browser, as plainly as the protocol allows. Where the
// answer goes nothing listens: the test reads it from the page that leads there.
type codeLogin struct {
	t      *testing.T
	g      *gateway
	client string

	redirect, state, verifier string
	answer                    url.Values
}

func newCodeLogin(t *testing.T, g *gateway, client string) *codeLogin {
	return &codeLogin{
		t: t, g: g, client: client, redirect: "http://127.0.0.1:1/callback", state: "state of the test",
		verifier: strings.Repeat("verifier-", 6),
	}
}

// address is that of the authorization request; changes are name, value, …
func (l *codeLogin) address(changes ...string) string {
	challenge := sha256.Sum256([]byte(l.verifier))
	q := url.Values{
		"response_type": {"code"}, "client_id": {l.client}, "redirect_uri": {l.redirect}, "state": {l.state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
	}
	for i := 0; i < len(changes); i += 2 {
		q.Set(changes[i], changes[i+1])
	}
	return l.g.url + "/oauth2/authorize?" + q.Encode()
}

// allow has alice say yes.
func (l *codeLogin) allow(question string) {
	l.t.Helper()
	l.answers(newPerson(l.t, "alice"), question, "allow")
	if l.answer.Get("code") == "" {
		l.t.Fatalf("no code was given: %v", l.answer)
	}
}

// answers has a person answer the question.
func (l *codeLogin) answers(p *person, question, answer string) {
	l.t.Helper()
	p.open(l.address())
	if strings.Contains(p.page, "Who are you?") {
		p.submit("/login", "user", p.user)
	}
	p.sees(question)
	p.stay = true
	p.submit("/device/confirm", "answer", answer)
	p.stay = false
	onward := onward.FindStringSubmatch(p.page)
	if onward == nil {
		l.t.Fatalf("nothing leads back:\n%s", p.page)
	}
	to, err := url.Parse(html.UnescapeString(onward[1]))
	if err != nil {
		l.t.Fatal(err)
	}
	l.answer = to.Query()
	if !strings.HasPrefix(to.String(), l.redirect) || l.answer.Get("state") != l.state ||
		l.answer.Get("iss") != l.g.url {
		l.t.Errorf("the answer goes to %s", to)
	}
}

// exchange redeems the code; changes are name, value, …
func (l *codeLogin) exchange(changes ...string) (answer tokens) {
	l.t.Helper()
	answer.Status = l.g.post("/oauth2/token", l.form(changes...), &answer)
	return answer
}

// exchangeFrom redeems the code from an address, as a proxy tells the gateway.
func (l *codeLogin) exchangeFrom(address string) (answer tokens) {
	l.t.Helper()
	r, err := http.NewRequest(http.MethodPost, l.g.url+"/oauth2/token", strings.NewReader(l.form().Encode()))
	if err != nil {
		l.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("X-Forwarded-For", address)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		l.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		l.t.Error(err)
	}
	return answer
}

// form is the token request.
func (l *codeLogin) form(changes ...string) url.Values {
	form := url.Values{
		"grant_type": {"authorization_code"}, "client_id": {l.client}, "code": {l.answer.Get("code")},
		"redirect_uri": {l.redirect}, "code_verifier": {l.verifier},
	}
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	return form
}
