package deviceauth

import (
	"fmt"
	"net/netip"
	"slices"
)

// Network says what follows when a person approves from another network than
// the device asked from: the mark of a code that somebody was talked into
// typing.
type Network string

// The network policies.
const (
	NetworkOff     Network = "off"     // nothing
	NetworkWarn    Network = "warn"    // a warning, and a second confirmation; the default
	NetworkRequire Network = "require" // no approval
)

func (n Network) check() error {
	if !slices.Contains([]Network{NetworkOff, NetworkWarn, NetworkRequire}, n) {
		return fmt.Errorf("network %q: want off, warn or require", n)
	}
	return nil
}

var (
	errElsewhere   = Refuse("other_network", "this device is in another network, and may be approved only from its own")
	errUnconfirmed = Refuse("unconfirmed", "this device is in another network; confirm that you started this")
)

// sameNetwork reports whether two addresses are the same IPv4 address, in the
// same IPv6 /64, or both within one of the networks given. The two addresses
// of localhost are one machine, whichever its browser took. An address that is
// not known is in no network.
func sameNetwork(a, b netip.Addr, networks []netip.Prefix) bool {
	a, b = a.Unmap().WithZone(""), b.Unmap().WithZone("")
	switch {
	case !a.IsValid() || !b.IsValid():
		return false
	case a == b || localhost(a) && localhost(b):
		return true
	case a.Is6() && b.Is6() && netip.PrefixFrom(a, 64).Contains(b):
		return true
	}
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) && n.Contains(b) })
}

// The IPv6 prefixes below which an IPv4 address stands: NAT64 (RFC 6052 §2.1)
// and 6to4 (RFC 3056 §2), beside IPv4-mapped addresses (RFC 4291 §2.5.5.2).
var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// embedded returns the IPv4 address that an IPv6 address stands for, or the
// address itself, without a zone: whoever has one IPv4 address must not be
// counted under a second name.
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	raw := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[12:16]))
	case sixTo4.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[2:6]))
	}
	return addr
}

func localhost(a netip.Addr) bool {
	return a == netip.IPv6Loopback() || a == netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Elsewhere reports whether an address is in another network than the device
// asked from, and the policy is to mind.
func (e *Engine) Elsewhere(g *Grant, here netip.Addr) bool {
	return e.Network(g.ClientID) != NetworkOff && !sameNetwork(g.From, here, e.cfg.Networks)
}

// near applies the policy to an approval.
func (e *Engine) near(g *Grant, here netip.Addr, confirmed bool) error {
	switch {
	case !e.Elsewhere(g, here):
		return nil
	case e.Network(g.ClientID) == NetworkRequire:
		return errElsewhere
	case !confirmed:
		return errUnconfirmed
	}
	return nil
}
