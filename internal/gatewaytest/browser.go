package gatewaytest

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
)

// A Browser keeps cookies and reads pages. It identifies cookies by name only, runs
// no scripts and loads no images. Status, Page and Header are those of the last
// response.
type Browser struct {
	*Site
	Cookies map[string]string
	Status  int
	Page    string
	Header  http.Header
}

// Browser returns a new browser, which shares no cookies with the others.
func (s *Site) Browser() *Browser { return &Browser{Site: s, Cookies: map[string]string{}} }

// Request sends a request with the browser's cookies, and keeps the response. A
// cookie with a negative Max-Age is deleted (RFC 6265 §5.3).
func (b *Browser) Request(r *http.Request) {
	b.Helper()
	for name, value := range b.Cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := b.Site.Do(r)
	// Path and domain of a cookie are ignored, because there is only one site.
	for _, c := range w.Result().Cookies() {
		b.Cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.Cookies, c.Name)
		}
	}
	b.Status, b.Page, b.Header = w.Code, w.Body.String(), w.Header()
}

// Open requests a page. It follows redirects within the site, and stops at the
// upstream.
func (b *Browser) Open(path string) {
	b.Helper()
	for {
		path, _, _ = strings.Cut(path, "#") // a fragment stays in the browser
		b.Request(httptest.NewRequest("GET", path, nil))
		if path = b.Header.Get("Location"); b.Status != http.StatusSeeOther || !strings.HasPrefix(path, "/") {
			return
		}
	}
}

// Submit posts a form, and follows a redirect in the response. It fills in the hidden
// field of the code's form if values does not have it, so that tests that are not
// about forgery need not know of it.
func (b *Browser) Submit(path string, values url.Values) {
	b.Helper()
	// values belongs to the caller and is not changed.
	if path == "/device" && !values.Has("form") {
		values = maps.Clone(values)
		values.Set("form", b.CodeForm())
	}
	b.Request(Post(path, values))
	if b.Status == http.StatusSeeOther && strings.HasPrefix(b.Header.Get("Location"), "/") {
		b.Open(b.Header.Get("Location"))
	}
}

var codeFormField = regexp.MustCompile(`name="form" value="([^"]+)"`)

// CodeForm returns the value of the hidden field in the form for the code.
func (b *Browser) CodeForm() string {
	b.Helper()
	if !codeFormField.MatchString(b.Page) {
		b.Open("/device")
	}
	field := codeFormField.FindStringSubmatch(b.Page)
	if field == nil {
		b.Fatalf("no form on the page:\n%s", b.Page)
	}
	return field[1]
}

// TicketField matches the ticket in a page's form.
var TicketField = regexp.MustCompile(`name="ticket" value="([^"]+)"`)

// Ticket returns the ticket of the form on the page. The ticket ties the answer to
// the question that the page showed.
func (b *Browser) Ticket() string {
	b.Helper()
	field := TicketField.FindStringSubmatch(b.Page)
	if field == nil {
		b.Fatalf("no ticket on the page:\n%s", b.Page)
	}
	return field[1]
}

// SignIn signs the browser in: it follows the redirect to the upstream, and returns
// from there with a code.
func (b *Browser) SignIn() {
	b.Helper()
	b.Open("/device/sign-in?with=work")
	begun := b.Upstream.Begun
	b.Open(strings.TrimPrefix(begun.RedirectURI, "https://api.example.com") + "?code=c&state=" + begun.State)
}

// Ask requests a device code and brings the browser to the page that asks about it.
// It returns both codes, so that the test can poll as the device.
func (b *Browser) Ask() (userCode, deviceCode string) {
	b.Helper()
	v := JSON(b.T, b.Post("/oauth2/device_authorization", Form, "client_id=tv"))
	userCode, deviceCode = v["user_code"].(string), v["device_code"].(string)
	b.Submit("/device", url.Values{"user_code": {userCode}})
	return userCode, deviceCode
}

// Sees requires the status, and a text on the page. A mismatch is reported with the
// whole page, and the test goes on.
func (b *Browser) Sees(status int, text string) {
	b.Helper()
	if b.Status != status || !strings.Contains(b.Page, text) {
		b.Errorf("got %d, want %d and %q in:\n%s", b.Status, status, text, b.Page)
	}
}
