package devicecheck

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
)

// The checks in this file follow the path to the server step by step, so that it is
// clear which step fails.

// renewalMargin is the remaining time below which a certificate should have been
// renewed: Caddy renews a month before the end. A certificate with a short lifetime
// is judged by a third of it, see checkExpiry.
const renewalMargin = 14 * 24 * time.Hour

// reachURL judges Config.URL. A URL with credentials is refused before it is printed
// anywhere, even if it cannot be parsed otherwise. http is accepted for loopback
// hosts only, because there nothing leaves the machine (RFC 8252 §8.3).
func (r *run) reachURL() finding {
	u, err := url.Parse(r.cfg.URL)
	usable := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
	switch {
	case strings.Contains(r.cfg.URL, "@") && (!usable || u.User != nil):
		return found("the URL has a user or a password in it").
			fail("Leave them away: nothing here signs in with them, and what is printed may be passed on.")
	case !usable:
		return found("%q is not the URL of an API or a server", r.cfg.URL).
			fail("Give one such as https://api.example.com/v2/things.")
	case !secure(u):
		return found("%s is not https: tokens and codes could be read on the way", r.cfg.URL).
			fail("Use https, in the URL and as the `issuer`; Caddy gets a certificate by itself when the site in the "+
				"Caddyfile is named %s. http is only for a loopback host.", u.Hostname())
	}
	r.target = u
	return pass("%s", u)
}

// secure reports whether a URL is https, or is http that does not leave the machine.
func secure(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && discovery.IsLoopback(u.Hostname())
}

// reachName looks up the host's name in DNS. Behind a proxy, this machine looks up no
// name, and a failure to resolve it would not be a defect.
func (r *run) reachName() finding {
	if by := proxyTo(r.target); by != "" {
		return pass("a proxy, %s, looks the name up", by)
	}
	addrs, err := net.DefaultResolver.LookupHost(r.ctx, r.target.Hostname())
	if err != nil {
		return explain(err)
	}
	return pass("%s is %s", r.target.Hostname(), quote(strings.Join(addrs, ", ")))
}

// proxyTo returns the proxy that the environment names for a URL, or "".
func proxyTo(u *url.URL) string {
	p, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil || p == nil {
		return ""
	}
	return p.Host
}

// reachConnection opens a TCP connection and sends nothing, to tell a closed port
// from a fault of TLS or HTTP.
func (r *run) reachConnection() finding {
	if by := proxyTo(r.target); by != "" {
		return pass("a proxy, %s, connects", by)
	}
	d := net.Dialer{Timeout: requestTimeout}
	conn, err := d.DialContext(r.ctx, "tcp", hostPort(r.target))
	if err != nil {
		return about(hostPort(r.target), explain(err))
	}
	defer conn.Close()
	return pass("%s accepts connections", conn.RemoteAddr())
}

// about puts the subject before the text of a finding. Findings on several hosts are
// joined in one line, so each has to name its host.
func about(what string, f finding) finding {
	f.detail = what + ": " + f.detail
	return f
}

// hostPort returns host and port of a URL; the default port is that of the scheme.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// reachTLS judges the certificate of the target. Behind a proxy it is skipped,
// because the proxy opens the TLS connection; reachHTTP then reports a certificate
// that is not accepted.
func (r *run) reachTLS() finding {
	switch {
	case r.target.Scheme == "http":
		return pass("http, on this machine only")
	case proxyTo(r.target) != "":
		return pass("a proxy, %s, is between here and there", proxyTo(r.target))
	}
	return r.certificate(r.target)
}

// certificate judges a server's certificate as a device does: crypto/tls verifies it
// with the system's roots or Config.Roots. A chain without its intermediate
// certificate, which browsers complete by themselves, fails here as it fails on
// devices.
func (r *run) certificate(u *url.URL) finding {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: requestTimeout},
		Config: &tls.Config{RootCAs: r.cfg.Roots, ServerName: u.Hostname()}}
	conn, err := d.DialContext(r.ctx, "tcp", hostPort(u))
	if err != nil {
		return about(hostPort(u), explain(err))
	}
	defer conn.Close()
	return checkExpiry(conn.(*tls.Conn).ConnectionState().PeerCertificates[0], time.Now())
}

// checkExpiry warns of a certificate that ends soon. Caddy renews when a third of the
// lifetime is left, so a shorter remaining time shows that a renewal has already
// failed.
func checkExpiry(c *x509.Certificate, now time.Time) finding {
	left := c.NotAfter.Sub(now)
	detail := found("the certificate of %s is good until %s", quote(strings.Join(c.DNSNames, ", ")),
		c.NotAfter.UTC().Format(time.DateOnly))
	// Some certificates are valid for days only, and are renewed in their last third.
	if left < renewalMargin && left < c.NotAfter.Sub(c.NotBefore)/3 {
		return found("%s, %s from now", detail, days(left)).
			warn("Look in Caddy's log why it does not renew: it does so when a third of the certificate's life is " +
				"left. One that a `tls` line names is yours to renew.")
	}
	return pass("%s", detail)
}

// days formats a duration in days, or in hours for two days and less, where the
// difference matters.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// reachHTTP requests server metadata at the URL itself, to find out whether the URL
// is a server's issuer. It does not follow a redirect within the origin, because the
// later checks use addresses of their own. A redirect to another origin is a warning:
// a browser follows it, but a device's POST does not.
func (r *run) reachHTTP() finding {
	a := r.ask(wellKnown(r.target, oauthName, true))
	switch {
	case a.err != nil:
		f := explain(a.err)
		return about(a.asked, f)
	case a.redirects() && !sameOrigin(a.header.Get("Location"), r.target):
		return found("%s", a).
			warn("Check the URL that this leads to: devices do not follow redirects when they post. The " +
				"`issuer` has to be an address that answers by itself.")
	}
	if d := a.document(); d != nil && d.Issuer != "" {
		r.ownMetadata = d
		return pass("an authorization server answers at %s", r.target)
	}
	return pass("a web server answers at %s", r.target)
}

// sameOrigin reports whether an address, which may be relative, has the origin of
// another. Ports are compared, and a default port that is written out equals a
// missing one.
func sameOrigin(address string, as *url.URL) bool {
	u, err := as.Parse(address)
	return err == nil && u.Scheme == as.Scheme && strings.EqualFold(hostPort(u), hostPort(as))
}
