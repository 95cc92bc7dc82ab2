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
// A larger body is cut, and then is no valid JSON; the check that reads it says
// so.
const maxBody = 1 << 20

// transportFor makes a connection for every request: a reload of the server
// between two checks must not look like a defect. It keeps the proxy settings
// of the environment, because devices in that network use them as well, and
// HTTP/2 where the server offers it.
func transportFor(roots *x509.CertPool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	t.DisableKeepAlives = true
	return t
}

// client follows no redirect: where one leads is for a check to judge.
// http.ErrUseLastResponse makes the redirect itself the response.
func client(t http.RoundTripper, jar http.CookieJar) *http.Client {
	return &http.Client{Transport: t, Jar: jar, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
}

// An answer is what became of a request. Exactly one of status and err tells
// how the request ended: err is set where no response was read to its end, and
// then status, header and body are not to be trusted.
type answer struct {
	asked  string // GET https://…, shortened: servers name addresses
	at     *url.URL
	status int
	header http.Header
	body   []byte
	took   time.Duration
	err    error // there was no response
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

// The Accept header names JSON first, as devices do, and HTML with a lower
// weight, as some servers and proxies choose between an error object and an
// error page by it (RFC 9110 §12.5.1). Each request has its own User-Agent, so
// that an operator finds the check's requests in an access log. A URL that
// cannot be parsed is an answer with an error, not a failure of the program: it
// may be what a server's metadata named.
func (r *run) send(by *http.Client, method, address, body string, headers ...string) *answer {
	a := &answer{asked: method + " " + quote(address), header: http.Header{}}
	ctx, cancel := context.WithTimeout(r.ctx, requestTimeout)
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

// The time is taken until the body has ended, because a proxy that holds back a
// body delays a device as much as one that holds back the header.
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

// String says what was asked and answered, for an operator. It names the
// redirect target or the OAuth error where there is one, because these are
// what an operator searches for; the body itself is never printed, as it may
// hold tokens.
func (a *answer) String() string {
	if a.err != nil {
		return fmt.Sprintf("%s: %s", a.asked, explain(a.err).detail)
	}
	text := fmt.Sprintf("%s was answered %d %s", a.asked, a.status, http.StatusText(a.status))
	if to := a.header.Get("Location"); to != "" {
		text += " to " + quote(to)
	}
	if oauthError := a.refusal(); oauthError.Error != "" {
		return text + ", " + quote(strings.TrimSuffix(oauthError.Error+": "+oauthError.Description, ": "))
	}
	if kind := a.kind(); kind != "" {
		text += ", " + kind
	}
	if len(a.body) == 0 && a.status == http.StatusOK {
		text += " without a body"
	}
	return text
}

// kind is the media type. A media type that cannot be parsed is the empty
// string, which no check accepts.
func (a *answer) kind() string {
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return kind
}

// isJSON accepts the structured suffix of RFC 6839 as well, such as
// application/problem+json: what counts is that a library would decode it.
func (a *answer) isJSON() bool {
	return a.kind() == "application/json" || strings.HasSuffix(a.kind(), "+json")
}

// ok reports whether the answer is a success. No other status than 200 is a
// success of the endpoints that are asked here.
func (a *answer) ok() bool { return a.err == nil && a.status == http.StatusOK }

// refused is RFC 6749 §5.2.
type refused struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// refusal is the OAuth error of an answer, if it is one. A page that begins
// with anything but an object is not decoded, whatever its Content-Type says;
// servers of other products are lax about the type, and errorsType judges that
// separately.
func (a *answer) refusal() (oauthError refused) {
	if a.err == nil && a.status >= 400 && bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("{")) {
		json.Unmarshal(a.body, &oauthError)
	}
	return oauthError
}

// stores reports whether caches may keep the answer. RFC 6749 §5.1 requires
// no-store of every response with a token or other sensitive information;
// private or max-age=0 do not keep it out of a browser's own cache.
func (a *answer) stores() bool {
	return !strings.Contains(strings.ToLower(a.header.Get("Cache-Control")), "no-store")
}

// redirects reports whether it leads elsewhere.
func (a *answer) redirects() bool { return a.err == nil && a.status >= 300 && a.status < 400 }

// quote shortens a text that the network sent. 200 characters hold any URL and
// any error description worth reading. Runs of white space become one space,
// so that a text stays on one line.
func quote(text string) string { return shorten(text, 200) }

func shorten(text string, most int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}
