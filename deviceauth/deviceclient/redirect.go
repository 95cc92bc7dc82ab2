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

// posting returns the client for requests with a token, a device code or a client's
// secret. It follows no redirects, because a 307 would send these to any URL. A
// redirect is then an error, see unexpected.
func posting(c *http.Client) *http.Client {
	own := copyOf(c)
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return own
}

// discovering returns the client for metadata. It follows redirects only within an
// origin, because the metadata are trusted for that origin.
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
		case len(via) >= 10: // as in net/http
			return errors.New("it redirects again and again")
		}
		return nil
	}
	return own
}

// MayLead reports whether a request may be sent to an address because another site
// named it: with TLS, and to this machine only if that site is on this machine, too.
// Services on a loopback host often trust all local clients. Package devicecheck uses
// it as well.
func MayLead(from, to *url.URL) bool {
	if to.Host == "" || to.User != nil || isThisMachine(to.Hostname()) && !isThisMachine(from.Hostname()) {
		return false
	}
	return to.Scheme == "https" || to.Scheme == "http" && discovery.IsLoopback(to.Hostname())
}

// isThisMachine reports whether a host is this machine. It includes 0.0.0.0, which
// connects to this machine but does not count as a loopback host.
func isThisMachine(host string) bool {
	addr, err := netip.ParseAddr(strings.TrimSuffix(host, "."))
	return discovery.IsLoopback(host) || err == nil && addr.IsUnspecified()
}

// copyOf returns a copy of a client, because the caller's must not be modified; nil
// is the default one.
func copyOf(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	own := *c
	return &own
}

// origin returns scheme, host and port of a URL in a canonical form.
func origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := map[string]string{"https": ":443", "http": ":80"}[scheme]; port != "" {
		host = strings.TrimSuffix(strings.TrimSuffix(host, port), ":")
	}
	return scheme + "://" + host
}

// maxErrorBody is how much of an unexpected response an error quotes.
const maxErrorBody = 1000

// unexpected returns the error for a response that is not an OAuth response.
func unexpected(answer *http.Response, body []byte) error {
	endpoint := answer.Request.URL
	if to := answer.Header.Get("Location"); answer.StatusCode/100 == 3 && to != "" {
		return fmt.Errorf("%s redirects to %q, and no token or secret is sent there: the server's metadata have to "+
			"name the endpoint where it answers; tell its operator", endpoint, to)
	}
	return fmt.Errorf("%s: %s %q", endpoint, text.Plain(answer.Status), body[:min(len(body), maxErrorBody)])
}
