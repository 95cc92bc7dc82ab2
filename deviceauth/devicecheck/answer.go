package devicecheck

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// maxBody is far above anything that a server of this protocol says.
const maxBody = 1 << 20

// transportFor makes a connection for every request: a reload of the server
// between two checks must not look like a defect.
func transportFor(roots *x509.CertPool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	t.DisableKeepAlives = true
	return t
}

// client follows no redirect: where one leads is for a check to judge.
func client(t http.RoundTripper, jar http.CookieJar) *http.Client {
	return &http.Client{Transport: t, Jar: jar, Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
}

// An answer is what became of a request.
type answer struct {
	asked  string // GET https://…, shortened: servers name addresses
	at     *url.URL
	status int
	header http.Header
	body   []byte
	took   time.Duration
	err    error // nobody answered
}

// get asks; headers are name, value, ….
func (r *run) get(address string, headers ...string) *answer {
	return r.send(r.http, http.MethodGet, address, "", headers...)
}

// post sends a form as it is written.
func (r *run) post(address, form string, headers ...string) *answer {
	return r.send(r.http, http.MethodPost, address, form,
		append(headers, "Content-Type", "application/x-www-form-urlencoded")...)
}

func (r *run) send(by *http.Client, method, address, body string, headers ...string) *answer {
	a := &answer{asked: method + " " + quote(address), header: http.Header{}}
	ctx, cancel := context.WithTimeout(r.ctx, timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, method, address, strings.NewReader(body))
	if err != nil {
		a.err, a.at = err, new(url.URL)
		return a
	}
	q.Header.Set("Accept", "application/json, text/html;q=0.9, */*;q=0.8")
	q.Header.Set("User-Agent", "caddy-device-auth-check")
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	a.at = q.URL
	a.receive(by, q)
	return a
}

func (a *answer) receive(by *http.Client, q *http.Request) {
	start := time.Now()
	response, err := by.Do(q)
	if err != nil {
		a.err = err
		return
	}
	defer response.Body.Close()
	a.status, a.header = response.StatusCode, response.Header
	a.body, a.err = io.ReadAll(io.LimitReader(response.Body, maxBody))
	a.took = time.Since(start)
}

// String says what was asked and answered, for an operator.
func (a *answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s: %s", a.asked, trouble(a.err).said)
	}
	text := fmt.Sprintf("%s was answered %d %s", a.asked, a.status, http.StatusText(a.status))
	if to := a.header.Get("Location"); to != "" {
		text += " to " + quote(to)
	}
	if said := a.refusal(); said.Error != "" {
		return text + ", " + quote(strings.TrimSuffix(said.Error+": "+said.Description, ": "))
	}
	if kind := a.kind(); kind != "" {
		text += ", " + kind
	}
	if len(a.body) == 0 && a.status == http.StatusOK {
		text += " without a body"
	}
	return text
}

// kind is the media type.
func (a *answer) kind() string {
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return kind
}

func (a *answer) isJSON() bool {
	return a.kind() == "application/json" || strings.HasSuffix(a.kind(), "+json")
}

func (a *answer) ok() bool { return a.err == nil && a.status == http.StatusOK }

// refused is RFC 6749 §5.2.
type refused struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// refusal is the OAuth error of an answer, if it is one.
func (a *answer) refusal() (said refused) {
	if a.err == nil && a.status >= 400 && bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("{")) {
		json.Unmarshal(a.body, &said)
	}
	return said
}

// stores reports whether caches may keep the answer.
func (a *answer) stores() bool {
	return !strings.Contains(strings.ToLower(a.header.Get("Cache-Control")), "no-store")
}

// redirects reports whether it leads elsewhere.
func (a *answer) redirects() bool { return a.err == nil && a.status >= 300 && a.status < 400 }

// quote shortens what somebody on the network wrote.
func quote(text string) string { return shorten(text, 200) }

func shorten(text string, most int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}
