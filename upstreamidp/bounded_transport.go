package upstreamidp

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	requestTimeout = 10 * time.Second // a person is waiting
	maxAnswer      = 1 << 20          // far above the size of any metadata, keys or claims
	maxRedirects   = 5
	maxError       = 4 << 10 // go-oidc and oauth2 quote such bodies in their errors, which are logged
)

// boundedClient returns a client with limits, so that a provider cannot block it,
// send it unlimited data, or redirect it to an unprotected connection or to a service
// of this machine that trusts local clients; loopback means that the provider itself
// is on this machine. A POST is never redirected.
func boundedClient(c *http.Client, loopback bool) *http.Client {
	var own http.Client
	if c != nil {
		own = *c
	}
	if own.Timeout == 0 {
		own.Timeout = requestTimeout
	}
	if own.Transport == nil {
		own.Transport = http.DefaultTransport
	}
	own.Transport = boundedTransport{RoundTripper: own.Transport, loopback: loopback}
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if via[0].Method != http.MethodGet || len(via) >= maxRedirects {
			return http.ErrUseLastResponse
		}
		return nil
	}
	return &own
}

// boundedTransport is below the handling of redirects, so that a redirect to http is
// refused like any other request.
type boundedTransport struct {
	http.RoundTripper
	loopback bool // the provider itself is on this machine, without TLS
}

// RoundTrip handles every request, including redirected ones and those to endpoints
// from the metadata.
func (t boundedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !(t.loopback && isProtected(r.URL)) {
		return nil, fmt.Errorf("%s://%s is not https", r.URL.Scheme, r.URL.Host)
	}
	answer, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	// Bodies of errors are only quoted, and may be truncated; those of successful
	// responses are decoded and must be complete.
	if answer.StatusCode < 400 {
		answer.Body = &boundedBody{ReadCloser: answer.Body, left: maxAnswer}
		return answer, nil
	}
	answer.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(answer.Body, maxError), answer.Body}
	return answer, nil
}

var errAnswerTooLarge = errors.New("the provider's answer is larger than 1 MiB")

// A boundedBody returns an error where an io.LimitReader would end: a truncated
// document must not be mistaken for a complete one.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left+1)])
	if n > b.left {
		return b.left, errAnswerTooLarge
	}
	b.left -= n
	return n, err
}
