package deviceclient

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// posting is the client for everything that carries a token, a device code or
// a client's secret: a 307 would take them along, wherever it points.
// Its redirect is then an error, see unexpected.
func posting(c *http.Client) *http.Client {
	own := copyOf(c)
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return own
}

// discovering is the client for metadata. They speak for an origin, so none
// but that origin may be where they are.
func discovering(c *http.Client) *http.Client {
	own := copyOf(c)
	before := own.CheckRedirect
	own.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		switch {
		case origin(r.URL) != origin(via[0].URL):
			return fmt.Errorf("it redirects to %q, which is another origin: if that is the one that you mean, "+
				"use its URL", r.URL)
		case before != nil:
			return before(r, via)
		case len(via) >= 10: // as net/http has it
			return errors.New("it redirects again and again")
		}
		return nil
	}
	return own
}

// MayLead reports whether a request may go to an address because another site
// named it: with TLS, and to this machine only where that site is on it. What
// listens on a loopback host often trusts every local client. It is also what
// devicecheck goes by.
func MayLead(from, to *url.URL) bool {
	if to.Host == "" || to.User != nil || isThisMachine(to.Hostname()) && !isThisMachine(from.Hostname()) {
		return false
	}
	return to.Scheme == "https" || to.Scheme == "http" && discovery.IsLoopback(to.Hostname())
}

// isThisMachine knows also the spelling of this machine that may not go without TLS:
// 0.0.0.0, which connects to it.
func isThisMachine(host string) bool {
	addr, err := netip.ParseAddr(strings.TrimSuffix(host, "."))
	return discovery.IsLoopback(host) || err == nil && addr.IsUnspecified()
}

// copyOf is a copy, because the client is not ours to change; nil is the
// default one.
func copyOf(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	own := *c
	return &own
}

// origin is the scheme, the host and the port of a URL, spelled in one way.
func origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := map[string]string{"https": ":443", "http": ":80"}[scheme]; port != "" {
		host = strings.TrimSuffix(strings.TrimSuffix(host, port), ":")
	}
	return scheme + "://" + host
}

// maxSaid is enough of a strange answer to be of help.
const maxErrorBody = 1000

// unexpected is the error for an answer that is not of OAuth.
func unexpected(answer *http.Response, body []byte) error {
	endpoint := answer.Request.URL
	if to := answer.Header.Get("Location"); answer.StatusCode/100 == 3 && to != "" {
		return fmt.Errorf("%s redirects to %q, and no token or secret is sent there: the server's metadata have to "+
			"name the endpoint where it answers; tell whoever runs it", endpoint, to)
	}
	return fmt.Errorf("%s: %s %q", endpoint, text.Plain(answer.Status), body[:min(len(body), maxErrorBody)])
}
