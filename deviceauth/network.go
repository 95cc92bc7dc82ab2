package deviceauth

import "net/netip"

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

var (
	errElsewhere   = Refuse("other_network", "this device is in another network, and may be approved only from its own")
	errUnconfirmed = Refuse("unconfirmed", "this device is in another network; confirm that you started this")
)

// Elsewhere reports whether an address is in another network than the device
// asked from: not the same IPv4 address or IPv6 /64. An address that is not
// known is elsewhere.
func (g *Grant) Elsewhere(addr netip.Addr) bool {
	here, there := addr.Unmap(), g.From.Unmap()
	if here.IsLoopback() && there.IsLoopback() {
		return false // one machine, whichever family its browser took
	}
	if here.Is6() && there.Is6() {
		p, err := here.WithZone("").Prefix(64)
		return err != nil || !p.Contains(there.WithZone(""))
	}
	return !here.IsValid() || here != there
}

// near applies the policy to an approval.
func (n Network) near(g *Grant, addr netip.Addr, confirmed bool) error {
	switch {
	case n == NetworkOff || !g.Elsewhere(addr):
		return nil
	case n == NetworkRequire:
		return errElsewhere
	case !confirmed:
		return errUnconfirmed
	}
	return nil
}
