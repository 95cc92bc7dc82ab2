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

// maxBody bounds the response body that is read. It is far above anything that an
// OAuth server sends. A larger body is cut off, so that it is not valid JSON, which
// the check that reads it reports.
const maxBody = 1 << 20

// transportFor returns a transport that opens a new connection for every request: a
// reload of the server between two checks must not look like a defect. The transport
// keeps the proxy settings of the environment, because devices in that network use
// them as well, and HTTP/2 where the server offers it.
func transportFor(roots *x509.CertPool) *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{RootCAs: roots}
	t.DisableKeepAlives = true
	return t
}

// client returns an HTTP client that follows no redirect, because the checks judge
// each redirect themselves. http.ErrUseLastResponse makes the redirect itself the
// response.
func client(t http.RoundTripper, jar http.CookieJar) *http.Client {
	return &http.Client{Transport: t, Jar: jar, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
}

// An answer is the outcome of one request. If err is set, no response was read to its
// end, and status, header and body must not be used.
type answer struct {
	asked  string // method and URL, "GET https://…", shortened because the URL may come from a server
	at     *url.URL
	status int
	header http.Header
	body   []byte
	took   time.Duration
	err    error // set if there was no complete response
}

// get sends a GET request; headers are pairs of name and value.
func (r *run) get(address string, headers ...string) *answer {
	return r.send(r.http, http.MethodGet, address, "", headers...)
}

// post sends body form, which is already encoded.
func (r *run) post(address, form string, headers ...string) *answer {
	return r.send(r.http, http.MethodPost, address, form,
		append(headers, "Content-Type", "application/x-www-form-urlencoded")...)
}

// send sends a request and returns its answer. The Accept header names JSON first, as
// devices do, and HTML with a lower weight, because some servers and proxies choose
// by it between an error object and an error page (RFC 9110 §12.5.1). The User-Agent
// lets an operator find the requests of the check in an access log. A URL that cannot
// be parsed gives an answer with an error and does not stop the program, since the
// URL may come from a server's metadata.
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

// receive sends request q and fills in the answer. The duration includes the body,
// because a proxy that holds back a body delays a device as much as one that holds
// back the header.
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

// String describes request and response for an operator. It names the redirect target
// or the OAuth error if there is one, because operators search for these. It never
// prints the body, which may hold tokens.
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

// kind returns the media type of the response. It returns "", which no check accepts,
// if the media type cannot be parsed.
func (a *answer) kind() string {
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return kind
}

// isJSON reports whether the media type is JSON. It accepts the structured suffix of
// RFC 6839 as well, such as application/problem+json, because libraries decode such
// bodies, too.
func (a *answer) isJSON() bool {
	return a.kind() == "application/json" || strings.HasSuffix(a.kind(), "+json")
}

// ok reports whether the answer is a success. The endpoints that are asked here have
// no other success status than 200.
func (a *answer) ok() bool { return a.err == nil && a.status == http.StatusOK }

// refused is the error response of RFC 6749 §5.2.
type refused struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// refusal returns the OAuth error in the answer, if there is one. It decodes only
// bodies that begin with an object, whatever their Content-Type: other products are
// lax about the type, and errorsType judges the type separately.
func (a *answer) refusal() (oauthError refused) {
	if a.err == nil && a.status >= 400 && bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("{")) {
		json.Unmarshal(a.body, &oauthError)
	}
	return oauthError
}

// cacheable reports whether caches may store the answer. RFC 6749 §5.1 requires no-store
// for every response with a token or other sensitive information; private or
// max-age=0 do not keep the response out of a browser's own cache.
func (a *answer) cacheable() bool {
	return !strings.Contains(strings.ToLower(a.header.Get("Cache-Control")), "no-store")
}

// redirects reports whether the answer is a redirect.
func (a *answer) redirects() bool { return a.err == nil && a.status >= 300 && a.status < 400 }

// quote shortens a text that came from the network and turns each run of white space
// into one space, so that the text stays on one line. 200 characters hold any URL and
// any error description worth reading.
func quote(text string) string { return shorten(text, 200) }

func shorten(text string, most int) string {
	runes := []rune(strings.Join(strings.Fields(text), " "))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}
