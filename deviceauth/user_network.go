package deviceauth

import (
	"fmt"
	"net/netip"
	"slices"
)

// Network is the policy for approvals from another network than the device's, which
// may mean that a person was tricked into entering an attacker's code.
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
	errElsewhere = NewError("other_network",
		"this device is in another network, and may be approved only from its own")
	errUnconfirmed = NewError("unconfirmed", "this device is in another network; confirm that you started this")
)

// sameNetwork reports whether two addresses are the same IPv4 address, in the same
// IPv6 /64, or both within one of the given networks, each of which is a list of
// prefixes. The IPv4 and IPv6 loopback addresses are the same machine. An unknown
// address is in no network.
func sameNetwork(a, b netip.Addr, networks [][]netip.Prefix) bool {
	switch {
	case !a.IsValid() || !b.IsValid():
		return false
	case a == b || localhost(a) && localhost(b):
		return true
	case a.Is6() && b.Is6() && netip.PrefixFrom(a, 64).Contains(b) && !shared(a):
		return true
	}
	return slices.ContainsFunc(networks, func(n []netip.Prefix) bool { return within(n, a) && within(n, b) })
}

// shared reports whether many people share the /64 of an address: that of Teredo, in
// which only the last 64 bits distinguish clients (RFC 4380 §4), and that of
// IPv4-compatible addresses (RFC 4291 §2.5.5.1).
func shared(addr netip.Addr) bool { return teredo.Contains(addr) || compatible.Contains(addr) }

var (
	teredo     = netip.MustParsePrefix("2001::/32")
	compatible = netip.MustParsePrefix("::/96")
)

func within(network []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(network, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// An embedding is an IPv6 prefix that embeds IPv4 addresses.
type embedding struct{ netip.Prefix }

// The standard ones: mapped addresses (RFC 4291 §2.5.5.2), the well-known prefix of
// NAT64 (RFC 6052 §2.1), and 6to4 (RFC 3056 §2).
var (
	mapped         = embedding{Prefix: netip.MustParsePrefix("::ffff:0:0/96")}
	wellKnownNAT64 = embedding{Prefix: netip.MustParsePrefix("64:ff9b::/96")}
	sixTo4         = embedding{Prefix: netip.MustParsePrefix("2002::/16")}
)

// begins reports whether an IPv6 address has the prefix. [netip.Prefix.Contains]
// would not do: it does not treat a mapped address as an IPv6 one.
func (m embedding) begins(addr netip.Addr) bool {
	return netip.PrefixFrom(addr, m.Bits()).Masked() == m.Masked()
}

// after returns the IPv4 address after the prefix. It skips the ninth byte, which is
// reserved (RFC 6052 §2.2, RFC 4291 §2.5.1).
func (m embedding) after(addr netip.Addr) netip.Addr {
	raw, at := addr.As16(), m.Bits()/8
	var four [4]byte
	for i := range four {
		if at == 8 {
			at++
		}
		four[i] = raw[at]
		at++
	}
	return netip.AddrFrom4(four)
}

type embeddings []embedding

func newEmbeddings(nat64 []netip.Prefix) embeddings {
	list := embeddings{mapped, wellKnownNAT64, sixTo4}
	for _, p := range nat64 {
		list = append(list, embedding{Prefix: p})
	}
	return list
}

// CheckNAT64 checks prefixes of a NAT64, which have one of six lengths (RFC 6052
// §2.2).
func CheckNAT64(prefixes []netip.Prefix) error {
	for _, p := range prefixes {
		if !p.Addr().Is6() || !slices.Contains([]int{32, 40, 48, 56, 64, 96}, p.Bits()) {
			return fmt.Errorf("nat64 %s: want an IPv6 prefix of 32, 40, 48, 56, 64 or 96 bits (RFC 6052)", p)
		}
	}
	return nil
}

// Address returns the IPv4 address that is embedded in an IPv6 address, mapped or
// with NAT64 or 6to4. It returns any other address unchanged, without a zone. An
// IPv6-only device and an IPv4 browser behind the same translator are in one network,
// and one IPv4 address must not be counted under two names. The engine applies it to
// every address that it receives.
func (e *Engine) Address(addr netip.Addr) netip.Addr { return e.embeddings.address(addr) }

func (e embeddings) address(addr netip.Addr) netip.Addr {
	addr = addr.WithZone("")
	for _, m := range e {
		if addr.Is6() && m.begins(addr) {
			return m.after(addr)
		}
	}
	return addr
}

// networks returns prefixes in the form with which addresses are compared.
func (e embeddings) networks(prefixes []netip.Prefix) (list []netip.Prefix) {
	for _, p := range prefixes {
		list = append(list, e.network(p))
	}
	return list
}

// network returns the IPv4 network that a prefix embeds, or else the prefix. The
// whole prefix of a translator is returned unchanged: it would embed all of IPv4.
func (e embeddings) network(p netip.Prefix) netip.Prefix {
	for _, around := range e {
		bits := p.Bits() - around.Bits()
		if !p.Addr().Is6() || bits <= 0 || !around.begins(p.Addr()) {
			continue
		}
		if p.IsSingleIP() {
			bits = 32
		} else if around.Bits() != 96 && around.Prefix != sixTo4.Prefix {
			continue // the reserved byte splits the address
		}
		return netip.PrefixFrom(around.after(p.Addr()), min(bits, 32)).Masked()
	}
	return p
}

func localhost(a netip.Addr) bool {
	return a == netip.IPv6Loopback() || a == netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// Elsewhere reports whether an address is in another network than the device, if the
// policy is not off.
func (e *Engine) Elsewhere(g *Grant, here netip.Addr) bool {
	return e.Network(g.ClientID) != NetworkOff && !e.sameNetwork(g.From, here)
}

// sameNetwork reports whether two addresses are in the same network, after conversion
// by Address.
func (e *Engine) sameNetwork(a, b netip.Addr) bool {
	return sameNetwork(e.Address(a), e.Address(b), e.networks)
}

// applyNetworkPolicy applies the network policy to an approval.
func (e *Engine) applyNetworkPolicy(g *Grant, here netip.Addr, confirmed bool) error {
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
