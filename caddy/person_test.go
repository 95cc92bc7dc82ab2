package main

import (
	"cmp"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
)

// A device asks, waits and is given tokens, as plainly as the protocol allows.
type device struct {
	t    *testing.T
	g    *gateway
	Code string `json:"device_code"`
	User string `json:"user_code"`
	Page string `json:"verification_uri"`
	Full string `json:"verification_uri_complete"`

	Interval int `json:"interval"` // in seconds

	client  string
	printed string      // by device-login, on standard error
	process *os.Process // of device-login
}

// tokens is an answer of the token endpoint, whichever it is.
type tokens struct {
	Status  int    `json:"-"`
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	Error   string `json:"error"`

	ExpiresIn int `json:"expires_in"`
}

func (g *gateway) device() *device {
	g.t.Helper()
	d := &device{t: g.t, g: g, client: "cool-gadget"}
	g.post("/oauth2/device_authorization", url.Values{"client_id": {"cool-gadget"}}, d)
	if d.Code == "" || d.User == "" {
		g.t.Fatalf("no code was given: %+v", d)
	}
	return d
}

// post sends a form and decodes the answer.
func (g *gateway) post(path string, form url.Values, answer any) int {
	g.t.Helper()
	response, err := http.PostForm(g.url+path, form)
	if err != nil {
		g.t.Error(err)
		return 0
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(answer); err != nil {
		g.t.Errorf("%s: %v", path, err)
	}
	return response.StatusCode
}

// poll asks once; a pending answer takes as long as the gateway holds it.
func (d *device) poll() (answer tokens) {
	d.t.Helper()
	answer.Status = d.g.post("/oauth2/token", url.Values{
		"client_id": {cmp.Or(d.client, "cool-gadget")}, "device_code": {d.Code},
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	}, &answer)
	return answer
}

func (g *gateway) refresh(token string) (answer tokens) {
	g.t.Helper()
	answer.Status = g.post("/oauth2/token", url.Values{
		"client_id": {"cool-gadget"}, "refresh_token": {token}, "grant_type": {"refresh_token"},
	}, &answer)
	return answer
}

// revoke gives a token back, and returns the answer's status.
func (g *gateway) revoke(token string) int {
	g.t.Helper()
	response, err := http.PostForm(g.url+"/oauth2/revoke", url.Values{"client_id": {"cool-gadget"}, "token": {token}})
	if err != nil {
		g.t.Error(err)
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

// A person is a browser without a screen: it follows links, keeps cookies and
// posts the forms that it is shown.
type person struct {
	t      *testing.T
	http   *http.Client
	user   string
	header http.Header // of every request
	at     *url.URL    // the page it looks at
	page   string
	stay   bool // where a page goes on by itself
}

func newPerson(t *testing.T, user string) *person {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t: t, http: &http.Client{Jar: jar}, user: user}
}

var (
	onward  = regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]*)"`)
	hidden  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"[^>]*>`)
	forms   = regexp.MustCompile(`(?s)<form[^>]* action="([^"]*)"[^>]*>(.*?)</form>`)
	heading = regexp.MustCompile(`<h1>([^<]*)</h1>`)
)

// look takes a page in, and goes on where the page does by itself.
func (p *person) look(response *http.Response, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.at, p.page = response.Request.URL, string(body)
	if next := onward.FindStringSubmatch(p.page); next != nil && !p.stay {
		p.open(html.UnescapeString(next[1]))
	}
}

func (p *person) open(address string) {
	p.t.Helper()
	if p.at != nil {
		next, err := p.at.Parse(address)
		if err != nil {
			p.t.Fatal(err)
		}
		address = next.String()
	}
	p.send(http.MethodGet, address, nil)
}

// send is a request of this browser.
func (p *person) send(method, address string, form url.Values) {
	p.t.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	if p.header != nil {
		r.Header = p.header.Clone()
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	p.look(p.http.Do(r))
}

// fields are the hidden ones of the first form that goes to an address, or where
// there is none of the page.
func (p *person) fields(to *url.URL) url.Values {
	within := p.page
	for _, f := range forms.FindAllStringSubmatch(p.page, -1) {
		if action, err := p.at.Parse(html.UnescapeString(f[1])); err == nil && action.Path == to.Path {
			within = f[2]
			break
		}
	}
	form := url.Values{}
	for _, field := range hidden.FindAllStringSubmatch(within, -1) {
		form.Set(field[1], html.UnescapeString(field[2]))
	}
	return form
}

// submit posts a form to a path, with its hidden fields.
func (p *person) submit(path string, fields ...string) {
	p.t.Helper()
	to, err := p.at.Parse(path)
	if err != nil {
		p.t.Fatal(err)
	}
	form := p.fields(to)
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	p.send(http.MethodPost, to.String(), form)
}

// sees fails the test where the page has another heading.
func (p *person) sees(text string) {
	p.t.Helper()
	if h := heading.FindStringSubmatch(p.page); h == nil || !strings.Contains(html.UnescapeString(h[1]), text) {
		p.t.Fatalf("the heading is %q, want %q, at %s:\n%s", h, text, p.at, p.page)
	}
}

// reach goes to the question about a device: code, sign-in, consent.
func (p *person) reach(d *device) {
	p.t.Helper()
	p.open(d.Full)
	p.sees("Connect a device")
	p.submit("/device", "user_code", d.User)
	if strings.Contains(p.page, "Who are you?") {
		p.submit("/login", "user", p.user)
	}
	p.sees("Connect Cool Gadget?")
}

func (p *person) allow(d *device) {
	p.t.Helper()
	p.reach(d)
	p.submit("/device/confirm", "answer", "allow")
	p.sees("is connected")
}

func (p *person) deny(d *device) {
	p.t.Helper()
	p.reach(d)
	p.submit("/device/confirm", "answer", "deny")
	p.sees("was refused")
}
