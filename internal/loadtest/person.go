package loadtest

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// A Person is a browser without a screen: it keeps cookies, follows redirects, and
// submits forms. It signs in at the demo's identity provider. It is not for
// concurrent use.
type Person struct {
	client *http.Client
	at     *url.URL // the current page
	page   string
}

// NewPerson returns a browser without cookies.
func NewPerson() *Person {
	jar, _ := cookiejar.New(nil) // never fails without options
	// Two people do not share connections, because each browser has its own.
	return &Person{client: &http.Client{Jar: jar, Transport: &http.Transport{MaxIdleConnsPerHost: 2}}}
}

// Close closes the browser's connections.
func (p *Person) Close() { p.client.CloseIdleConnections() }

// Reach opens a link with a code (verification_uri_complete, RFC 8628 §3.3.1) and
// goes on to the question about its device. A person without a session signs in with
// an account of the demo.
func (p *Person) Reach(ctx context.Context, link, userCode, account string) error {
	if err := p.send(ctx, "GET", link, nil); err != nil {
		return err
	}
	if err := p.submit(ctx, "/device", "user_code", userCode); err != nil {
		return err
	}
	if strings.Contains(p.page, "Who are you?") {
		if err := p.submit(ctx, "/login", "user", account); err != nil {
			return err
		}
	}
	return p.sees("/device/confirm")
}

// Answer presses a button of the question: allow or deny.
func (p *Person) Answer(ctx context.Context, answer string) error {
	return p.submit(ctx, "/device/confirm", "answer", answer)
}

// These patterns read the pages. The pages of the demo and the gateway come from
// templates, so the order of their attributes is fixed.
var (
	onward = regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]*)"`)
	forms  = regexp.MustCompile(`(?s)<form[^>]* action="([^"]*)"[^>]*>(.*?)</form>`)
	hidden = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"[^>]*>`)
)

// sees returns an error if the page has no form for a path. The person then cannot go
// on: the code is unknown, or the page shows an error.
func (p *Person) sees(path string) error {
	for _, form := range forms.FindAllStringSubmatch(p.page, -1) {
		if to, err := p.at.Parse(html.UnescapeString(form[1])); err == nil && to.Path == path {
			return nil
		}
	}
	return fmt.Errorf("no form for %s at %s: %.2000s", path, p.at, p.page)
}

// submit posts the page's form for a path, with its hidden fields and the given ones.
func (p *Person) submit(ctx context.Context, path string, fields ...string) error {
	for _, form := range forms.FindAllStringSubmatch(p.page, -1) {
		to, err := p.at.Parse(html.UnescapeString(form[1]))
		if err != nil || to.Path != path {
			continue
		}
		values := url.Values{}
		for _, field := range hidden.FindAllStringSubmatch(form[2], -1) {
			values.Set(field[1], html.UnescapeString(field[2]))
		}
		for i := 0; i < len(fields); i += 2 {
			values.Set(fields[i], fields[i+1])
		}
		return p.send(ctx, "POST", to.String(), values)
	}
	return p.sees(path)
}

// send requests an address. It follows a page that refreshes itself at once.
func (p *Person) send(ctx context.Context, method, address string, form url.Values) error {
	r, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := p.client.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	p.at, p.page = response.Request.URL, string(body)
	if response.StatusCode != http.StatusOK {
		return Wrong(response.StatusCode, body, "a page, at "+p.at.Path)
	}
	// The identity provider returns to the gateway by a page that refreshes itself.
	next := onward.FindStringSubmatch(p.page)
	if next == nil {
		return nil
	}
	to, err := p.at.Parse(html.UnescapeString(next[1]))
	if err != nil {
		return err
	}
	return p.send(ctx, "GET", to.String(), nil)
}
