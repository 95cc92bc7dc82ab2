package clientdocument

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// A forbiddenError says that a document is at an address that is not asked.
type forbiddenError struct{ addr netip.Addr }

func (e *forbiddenError) Error() string { return fmt.Sprintf("%v is no public address", e.addr) }

// newClient asks public addresses alone, each time on a connection of its own, and follows
// no redirects. It goes by no proxy: that would look the host up anew, behind the check.
func newClient(roots *x509.CertPool, loopback bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: timeout,
		// Control sees the address that is about to be connected to, after its name was
		// looked up: a name that leads elsewhere the second time leads nowhere (DNS
		// rebinding).
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !isPublic(to.Addr()) && !(loopback && to.Addr().Unmap().IsLoopback()) {
				return &forbiddenError{addr: to.Addr()}
			}
			return nil
		},
	}
	return &http.Client{
		Timeout: timeout, // of all of it, the body too
		// Connections are not kept: one that is used again was checked for another name.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
			MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
			IdleConnTimeout: time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reserved are the networks of the registries for special purposes
// (https://www.iana.org/assignments/iana-ipv4-special-registry and its IPv6 twin) that
// [netip.Addr] has no method for, with those that lead to IPv4 addresses by themselves.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"), netip.MustParsePrefix("5f00::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// isPublic reports whether an address is one of the internet.
func isPublic(addr netip.Addr) bool {
	addr = addr.Unmap()
	// An address with a zone is of a link, and IsGlobalUnicast knows multicast, loopback
	// and link-local ones.
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Zone() != "" {
		return false
	}
	for _, network := range reserved {
		if network.Contains(addr) {
			return false
		}
	}
	return true
}
