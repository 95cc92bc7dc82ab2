package devicecheck

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// explain says why there was no response, and what an operator can do about it,
// because the errors of the libraries below need expert knowledge. Causes that
// errors.As finds come first, since a DNS error may also be a time-out. The text of
// an unknown error is printed as it is.
func explain(err error) finding {
	var name *net.DNSError
	switch {
	case errors.As(err, &name) && name.IsNotFound:
		return found("the host name %s is unknown", quote(name.Name)).
			fail("Set an A or AAAA record for %s in DNS; a record that is new may take until the old answer's time "+
				"to live is over.", quote(name.Name))
	case errors.As(err, &name):
		return found("the host name %s could not be looked up: %s", quote(name.Name), quote(name.Err)).
			fail("Look at this machine's DNS resolver: it did not answer.")
	case errors.Is(err, syscall.ECONNREFUSED):
		return found("the connection was refused: nothing listens there").
			fail("Start Caddy (`caddy run`), and look at the port and at `bind` and `default_bind` in the " +
				"Caddyfile: they may listen on another address.")
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || isTimeout(err):
		return found("there was no answer within %v", requestTimeout).
			fail("Look whether a firewall drops the connection, the DNS record points at another machine, or the " +
				"backend hangs.")
	}
	if f := badTLS(err); f.detail != "" {
		return f
	}
	return found("%s", quote(err.Error())).fail("Look at Caddy's log, and at what stands between here and there.")
}

// isTimeout reports whether an error is a time-out, also one of net/http that wraps
// no context error.
func isTimeout(err error) bool {
	var timed net.Error
	return errors.As(err, &timed) && timed.Timeout()
}

// badTLS explains the errors of TLS; it returns the zero finding for any other error.
// An alert of the server arrives as tls.AlertError, or only as text where HTTP/2 has
// wrapped it.
func badTLS(err error) finding {
	var unknown x509.UnknownAuthorityError
	var wrong x509.HostnameError
	var invalid x509.CertificateInvalidError
	var plainText tls.RecordHeaderError
	var alert tls.AlertError
	switch {
	case errors.As(err, &unknown):
		return found("the certificate has an unknown issuer (%s)", quote(unknown.Cert.Issuer.String())).
			fail("Let Caddy get a public certificate: take `tls internal` and `local_certs` out of the Caddyfile. " +
				"Where it is to be your own, `caddy trust` makes this machine trust Caddy's, and every device " +
				"needs it too.")
	case errors.As(err, &wrong):
		return found("the certificate is for %s and not for %s", quote(strings.Join(wrong.Certificate.DNSNames, ", ")),
			quote(wrong.Host)).
			fail("Name the site %s in the Caddyfile, so that Caddy gets a certificate for it, or see who else "+
				"answers on this address.", quote(wrong.Host))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return expired(invalid.Cert)
	case errors.As(err, &plainText):
		return found("the server does not speak TLS on this port").
			fail("Use the port that has TLS, or name the site with https:// or without a scheme in the Caddyfile.")
	case errors.As(err, &alert), strings.Contains(err.Error(), "remote error: tls"):
		return found("the server broke off TLS: %s", quote(err.Error())).
			fail("Caddy has no certificate for this name, yet: name the site so in the Caddyfile, and look in its " +
				"log why it gets none. Ports 80 and 443 must be open, and DNS point here.")
	case errors.As(err, &invalid):
		return found("the certificate cannot be used: %s", quote(err.Error())).
			fail("Get another certificate; Caddy does by itself where no `tls` line names one.")
	}
	return finding{}
}

// expired is the failure for a certificate outside its period of validity. A
// certificate that is not valid yet usually means that this machine's clock is late,
// so that remedy is about the clock and not about the certificate.
func expired(c *x509.Certificate) finding {
	now := time.Now()
	if now.Before(c.NotBefore) {
		return found("the certificate counts from %s, and here it is %s", c.NotBefore.UTC().Format(time.DateTime),
			now.UTC().Format(time.DateTime)).fail("Set the clocks by NTP, here and at the server.")
	}
	return found("the certificate ended on %s", c.NotAfter.UTC().Format(time.DateOnly)).
		fail("Look in Caddy's log why it does not renew: ports 80 and 443 must be open and DNS point here. A " +
			"certificate that a `tls` line names is yours to renew.")
}
