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

// soon is when a certificate ends too soon: Caddy renews a month before.
const soon = 14 * 24 * time.Hour

func (r *run) reachURL() finding {
	u, err := url.Parse(r.cfg.URL)
	usable := err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
	switch {
	case strings.Contains(r.cfg.URL, "@") && (!usable || u.User != nil):
		return found("the URL has a user or a password in it").
			fails("Leave them away: nothing here signs in with them, and what is printed may be passed on.")
	case !usable:
		return found("%q is not the URL of an API or a server", r.cfg.URL).
			fails("Give one such as https://api.example.com/v2/things.")
	case !secure(u):
		return found("%s is not https: tokens and codes could be read on the way", r.cfg.URL).
			fails("Use https, in the URL and as the `issuer`; Caddy gets a certificate by itself when the site in the "+
				"Caddyfile is named %s. http is only for a loopback host.", u.Hostname())
	}
	r.target = u
	return well("%s", u)
}

// secure is https, or http that does not leave the machine.
func secure(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && discovery.IsLoopback(u.Hostname())
}

func (r *run) reachName() finding {
	if by := proxyTo(r.target); by != "" {
		return well("a proxy, %s, looks the name up", by)
	}
	addrs, err := net.DefaultResolver.LookupHost(r.ctx, r.target.Hostname())
	if err != nil {
		return trouble(err)
	}
	return well("%s is %s", r.target.Hostname(), quote(strings.Join(addrs, ", ")))
}

// proxyTo is the proxy that the environment names for an address.
func proxyTo(u *url.URL) string {
	p, err := http.ProxyFromEnvironment(&http.Request{URL: u})
	if err != nil || p == nil {
		return ""
	}
	return p.Host
}

func (r *run) reachConnection() finding {
	if by := proxyTo(r.target); by != "" {
		return well("a proxy, %s, connects", by)
	}
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(r.ctx, "tcp", hostPort(r.target))
	if err != nil {
		return about(hostPort(r.target), trouble(err))
	}
	defer conn.Close()
	return well("%s accepts connections", conn.RemoteAddr())
}

// about puts what a finding is about before it.
func about(what string, f finding) finding {
	f.said = what + ": " + f.said
	return f
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

func (r *run) reachTLS() finding {
	switch {
	case r.target.Scheme == "http":
		return well("http, on this machine only")
	case proxyTo(r.target) != "":
		return well("a proxy, %s, is between here and there", proxyTo(r.target))
	}
	return r.certificate(r.target)
}

// certificate looks at a server's certificate as a device does.
func (r *run) certificate(u *url.URL) finding {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: timeout},
		Config: &tls.Config{RootCAs: r.cfg.Roots, ServerName: u.Hostname()}}
	conn, err := d.DialContext(r.ctx, "tcp", hostPort(u))
	if err != nil {
		return about(hostPort(u), trouble(err))
	}
	defer conn.Close()
	return judge(conn.(*tls.Conn).ConnectionState().PeerCertificates[0], time.Now())
}

func judge(c *x509.Certificate, now time.Time) finding {
	left := c.NotAfter.Sub(now)
	said := found("the certificate of %s is good until %s", quote(strings.Join(c.DNSNames, ", ")),
		c.NotAfter.UTC().Format(time.DateOnly))
	// some live for days only, and are renewed in their last third
	if left < soon && left < c.NotAfter.Sub(c.NotBefore)/3 {
		return found("%s, %s from now", said, days(left)).
			warns("Look in Caddy's log why it does not renew: it does so when a third of the certificate's life is " +
				"left. One that a `tls` line names is yours to renew.")
	}
	return well("%s", said)
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// reachHTTP asks for the metadata of a server at the very URL, which tells
// whether it is one.
func (r *run) reachHTTP() finding {
	a := r.ask(wellKnown(r.target, oauthName, true))
	switch {
	case a.err != nil:
		f := trouble(a.err)
		return about(a.asked, f)
	case a.redirects() && !sameOrigin(a.header.Get("Location"), r.target):
		return found("%s", a).
			warns("Check the URL that this leads to: devices do not follow redirects when they post. The " +
				"`issuer` has to be an address that answers by itself.")
	}
	if d := a.document(); d != nil && d.Issuer != "" {
		r.own = d
		return well("an authorization server answers at %s", r.target)
	}
	return well("a web server answers at %s", r.target)
}

func sameOrigin(address string, as *url.URL) bool {
	u, err := as.Parse(address)
	return err == nil && u.Scheme == as.Scheme && strings.EqualFold(hostPort(u), hostPort(as))
}
