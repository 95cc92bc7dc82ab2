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

// A forbiddenError says that a document's host has an address that must not be used.
type forbiddenError struct{ addr netip.Addr }

func (e *forbiddenError) Error() string { return fmt.Sprintf("%v is no public address", e.addr) }

// newClient returns a client that connects to public addresses only, uses a new
// connection for each request, and follows no redirects. It uses no proxy, because a
// proxy would look the host up again and bypass the check.
func newClient(roots *x509.CertPool, loopback bool) *http.Client {
	dialer := &net.Dialer{
		Timeout: timeout,
		// Control is called with the address to connect to, after the name was looked
		// up. So a name that has another address at the second lookup does not bypass
		// the check (DNS rebinding).
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil || !isPublic(to.Addr()) && !(loopback && to.Addr().Unmap().IsLoopback()) {
				return &forbiddenError{addr: to.Addr()}
			}
			return nil
		},
	}
	return &http.Client{
		Timeout: timeout, // of the whole request, including the body
		// Connections are not kept: a reused one would have been checked for another
		// name.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true, TLSHandshakeTimeout: timeout, ResponseHeaderTimeout: timeout,
			MaxResponseHeaderBytes: 16 << 10, ForceAttemptHTTP2: true,
			IdleConnTimeout: time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// reserved are the networks of the IANA special-purpose registries
// (https://www.iana.org/assignments/iana-ipv4-special-registry and the one for IPv6)
// that no method of [netip.Addr] covers, and the IPv6 networks that map to IPv4
// addresses.
var reserved = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("3fff::/20"), netip.MustParsePrefix("5f00::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// nat64 is the prefix with which a NAT64 represents IPv4 addresses (RFC 6052 §2.1). A
// host without IPv4 reaches every server that has no IPv6 by such an address.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// isPublic reports whether an address is a public address of the internet.
func isPublic(addr netip.Addr) bool {
	if nat64.Contains(addr) {
		whole := addr.As16()
		addr = netip.AddrFrom4([4]byte(whole[12:]))
	}
	addr = addr.Unmap()
	// An address with a zone is local to a link. IsGlobalUnicast excludes multicast,
	// loopback and link-local addresses.
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
