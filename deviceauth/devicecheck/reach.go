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

// The way to the server, step by step, so that it is plain which one fails.

// renewalMargin is when a certificate ends too renewalMargin: Caddy renews a month before.
// Certificates of a shorter life are judged by a third of it, see judge.
const renewalMargin = 14 * 24 * time.Hour

// A URL with credentials is refused before it is printed anywhere, also where
// it cannot be parsed otherwise. http is accepted for loopback hosts only, as
// there nothing leaves the machine (RFC 8252 §8.3).
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

// secure is https, or http that does not leave the machine.
func secure(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && discovery.IsLoopback(u.Hostname())
}

// reachName looks the host's name up in DNS. With a proxy the name is not
// looked up here at all, and a failure to resolve it would be no defect.
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

// proxyTo is the proxy that the environment names for an address.
func proxyTo(u *url.URL) string {
	p, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil || p == nil {
		return ""
	}
	return p.Host
}

// reachConnection connects and sends nothing, to tell a closed port from a TLS or HTTP
// fault.
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

// about puts what a finding is about before it. Findings on several hosts are
// joined in one line, so each has to name its own.
func about(what string, f finding) finding {
	f.detail = what + ": " + f.detail
	return f
}

// A URL without a port has its scheme's default.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// reachTLS judges the certificate of the target. Behind a proxy the TLS
// connection is the proxy's to open, and reachHTTP notices a certificate that
// is not accepted.
func (r *run) reachTLS() finding {
	switch {
	case r.target.Scheme == "http":
		return pass("http, on this machine only")
	case proxyTo(r.target) != "":
		return pass("a proxy, %s, is between here and there", proxyTo(r.target))
	}
	return r.certificate(r.target)
}

// certificate looks at a server's certificate as a device does.
// Verification is that of crypto/tls with the system's roots or Config.Roots. A
// certificate that only a browser repairs, with a missing intermediate, fails
// here as it fails on devices.
func (r *run) certificate(u *url.URL) finding {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: requestTimeout},
		Config: &tls.Config{RootCAs: r.cfg.Roots, ServerName: u.Hostname()}}
	conn, err := d.DialContext(r.ctx, "tcp", hostPort(u))
	if err != nil {
		return about(hostPort(u), explain(err))
	}
	defer conn.Close()
	return judge(conn.(*tls.Conn).ConnectionState().PeerCertificates[0], time.Now())
}

// judge warns of a certificate that ends soon. Caddy renews when a third of
// the lifetime is left, so anything below that says that a renewal has already
// failed.
func judge(c *x509.Certificate, now time.Time) finding {
	left := c.NotAfter.Sub(now)
	detail := found("the certificate of %s is good until %s", quote(strings.Join(c.DNSNames, ", ")),
		c.NotAfter.UTC().Format(time.DateOnly))
	// some live for days only, and are renewed in their last third
	if left < renewalMargin && left < c.NotAfter.Sub(c.NotBefore)/3 {
		return found("%s, %s from now", detail, days(left)).
			warn("Look in Caddy's log why it does not renew: it does so when a third of the certificate's life is " +
				"left. One that a `tls` line names is yours to renew.")
	}
	return pass("%s", detail)
}

// Two days and less are given in hours, where the difference matters.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// reachHTTP asks for the metadata of a server at the very URL, which tells
// whether it is one. A redirect within the origin is not followed: the
// following checks ask their own addresses. One to another origin is a
// warning, because a browser follows it and a device's POST does not.
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

// The address may be relative. Ports count, also a default one that is written
// out.
func sameOrigin(address string, as *url.URL) bool {
	u, err := as.Parse(address)
	return err == nil && u.Scheme == as.Scheme && strings.EqualFold(hostPort(u), hostPort(as))
}
