// Package discovery handles the URLs of authorization servers and of their metadata
// (RFC 8414, RFC 9728). It decides which of these URLs may be trusted with secrets.
package discovery

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// CheckIssuer returns an error if an issuer URL does not comply with RFC 8414 §2. For
// development it accepts http on this machine as well.
func CheckIssuer(issuer string) error {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("issuer %q: want an URL such as https://api.example.com, without query and fragment", issuer)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !IsLoopback(u.Hostname())) {
		return fmt.Errorf("issuer %q: want https, or http on a loopback host", issuer)
	}
	return nil
}

// IsLoopback reports whether a host name or address is of this machine. Names below
// localhost are (RFC 6761 §6.3).
func IsLoopback(host string) bool {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}
