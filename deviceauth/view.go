package deviceauth

import (
	"slices"
	"strings"
	"time"
)

// What those who speak for an engine want to know of its configuration.

// Issuer returns the issuer URL as configured.
func (e *Engine) Issuer() string { return e.cfg.Issuer }

// Audience returns the allowed audiences, the default first.
func (e *Engine) Audience() []string { return e.cfg.Audience }

// Mask returns the shape of user codes.
func (e *Engine) Mask() Mask { return e.cfg.UserCode }

// Session returns how long people stay signed in.
func (e *Engine) Session() time.Duration { return e.cfg.Lifetime.Session }

// Network returns the network policy for a client.
func (e *Engine) Network(client string) Network {
	if c := e.clients[client]; c != nil && c.Network != "" {
		return c.Network
	}
	return e.cfg.Network
}

// Client returns a client by its id.
func (e *Engine) Client(id string) (*Client, bool) {
	c, ok := e.clients[id]
	return c, ok
}

// Origins returns the origins of all pages that play a device, sorted.
func (e *Engine) Origins() []string {
	var all []string
	for _, c := range e.clients {
		all = append(all, c.Origins...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Scopes returns all scopes that some client may ask for, sorted.
func (e *Engine) Scopes() []string {
	var all []string
	for _, c := range e.clients {
		all = append(all, c.Scope.List()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ScopeTexts returns what the operator says that scopes allow.
func (e *Engine) ScopeTexts() []ScopeText { return e.cfg.Scopes }

// Plain makes text of names, makers and scope texts: control characters and
// those that turn the direction of writing are taken out, so that no name can
// pretend to be another.
func Plain(s string) string {
	if isPrintable(s) {
		return s // nearly always; guards say several names on every request
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r < ' ', r >= 0x7f && r < 0xa0, r == 0xfeff,
			r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}
