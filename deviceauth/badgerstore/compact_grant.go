package badgerstore

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A compactGrant is a pending grant in less than half of the memory of a
// [deviceauth.Grant]. It has few pointers, because the garbage collector follows each of
// them in every cycle.
type compactGrant struct {
	full   *deviceauth.Grant // a full copy, see newCompactGrant; nil: the fields below are complete
	shared *request
	text   string // the user code, the place and the label, and the bytes of a challenge if there is one

	id               deviceauth.ID
	device           deviceauth.Digest
	created, expires int64 // in Unix nanoseconds
	from             [16]byte
	family           family
	challenged       bool
	code, place      uint16 // lengths within the text
	revision         int32
}

// A family is the kind of address in 16 bytes.
type family uint8

const (
	noAddress family = iota
	ipv4
	ipv6
)

// A request is what many grants of a client have in common.
type request struct {
	client   string
	scope    deviceauth.Scope
	audience []string
}

// is reports whether a grant has the same request; a nil one matches no grant.
func (r *request) is(g *deviceauth.Grant) bool {
	return r != nil && r.client == g.ClientID && r.scope == g.Scope && slices.Equal(r.audience, g.Audience)
}

// equal reports whether two requests are alike; a nil one equals none.
func (r *request) equal(other *request) bool {
	return r != nil && r.client == other.client && r.scope == other.scope && slices.Equal(r.audience, other.audience)
}

// requestOf copies the texts: they may be parts of a request's body, which a pending grant
// would keep in memory.
func requestOf(g *deviceauth.Grant) *request {
	r := &request{client: strings.Clone(g.ClientID), scope: deviceauth.Scope(strings.Clone(string(g.Scope)))}
	r.audience = slices.Clone(g.Audience)
	for i, audience := range r.audience {
		r.audience[i] = strings.Clone(audience)
	}
	return r
}

// newCompactGrant returns the compact form of a grant. Grants with equal requests share
// last, which is nil for the first one. A grant is kept as a full copy if its text is
// longer than 1 KiB, or if it has members that pending grants of devices lack.
func newCompactGrant(g *deviceauth.Grant, last *request) compactGrant {
	c := compactGrant{
		shared: last, text: string(g.UserCode) + g.Place + g.Label, id: g.ID, device: g.Device,
		created: g.Created.UnixNano(), expires: g.Expires.UnixNano(), from: g.From.As16(), family: ipv6,
		code: uint16(len(g.UserCode)), place: uint16(len(g.Place)), revision: int32(g.Revision),
	}
	if !last.is(g) {
		c.shared = requestOf(g)
	}
	switch {
	case !g.From.IsValid():
		c.family = noAddress
	case g.From.Is4():
		c.family = ipv4
	}
	if g.Challenge != (deviceauth.Digest{}) {
		c.text, c.challenged = c.text+string(g.Challenge[:]), true
	}
	if len(c.text) > 1<<10 || !c.represents(g) {
		own, copied := *g, requestOf(g)
		own.ClientID, own.Scope, own.Audience = copied.client, copied.scope, copied.audience
		own.UserCode, own.Place = deviceauth.UserCode(strings.Clone(string(g.UserCode))), strings.Clone(g.Place)
		own.Label = strings.Clone(g.Label)
		return compactGrant{full: &own, id: g.ID}
	}
	return c
}

// represents reports whether nothing of the grant is missing.
func (c *compactGrant) represents(g *deviceauth.Grant) bool {
	decoded := c.grant()
	same := decoded.State == g.State && decoded.Created == g.Created && decoded.Expires == g.Expires &&
		decoded.From == g.From && decoded.Revision == g.Revision && (decoded.Audience == nil) == (g.Audience == nil)
	decided := g.Person != nil || g.Name != "" || g.Refresh != nil || g.Reason != "" || !g.Decided.IsZero() ||
		!g.Redeemed.IsZero() || !g.AccessUntil.IsZero() || !g.Ended.IsZero()
	inBrowser := g.Nonce != "" || g.Redirect != ""
	return same && !decided && !inBrowser
}

// grant returns the grant, as the caller's own.
func (c *compactGrant) grant() *deviceauth.Grant {
	g := new(deviceauth.Grant)
	c.into(g)
	return g
}

// into overwrites g with the grant.
func (c *compactGrant) into(g *deviceauth.Grant) {
	if c.full != nil {
		*g = *c.full
		return
	}
	*g = deviceauth.Grant{
		ID: c.id, Revision: int(c.revision), State: deviceauth.Pending, ClientID: c.shared.client, Device: c.device,
		Scope: c.shared.scope, Audience: c.shared.audience,
		UserCode: c.userCode(), Place: c.text[c.code : c.code+c.place], Label: c.text[c.code+c.place:],
		Created: time.Unix(0, c.created).UTC(), Expires: time.Unix(0, c.expires).UTC(),
	}
	if end := len(g.Label) - len(g.Challenge); c.challenged && end >= 0 {
		g.Challenge, g.Label = deviceauth.Digest([]byte(g.Label[end:])), g.Label[:end]
	}
	switch c.family {
	case ipv4:
		g.From = netip.AddrFrom4([4]byte(c.from[12:]))
	case ipv6:
		g.From = netip.AddrFrom16(c.from)
	}
}

// userCode returns the user code, without copying it.
func (c *compactGrant) userCode() deviceauth.UserCode {
	if c.full != nil {
		return c.full.UserCode
	}
	return deviceauth.UserCode(c.text[:c.code])
}

// keptAfterCode is how much longer than its code a pending grant is kept.
var keptAfterCode = new(deviceauth.Grant).KeepUntil().Sub(time.Time{})

// codeForgetAt returns the Unix second in which Badger forgets the user code.
func (c *compactGrant) codeForgetAt() uint64 { return expirySecond(c.codeExpires()) }

// forgetAt returns the Unix second in which Badger forgets the record.
func (c *compactGrant) forgetAt() uint64 { return expirySecond(c.codeExpires().Add(keptAfterCode)) }

// codeExpires returns when the code expires.
func (c *compactGrant) codeExpires() time.Time {
	if c.full != nil {
		return c.full.Expires
	}
	return time.Unix(0, c.expires)
}

// entrySize is about what a grant takes beside its compact form: its entries in the maps,
// the list and the queue.
const entrySize = 100

// size returns about how many bytes the grant takes in memory. What is shared is counted
// for each grant, so that the limit of all holds even if no two grants share anything.
func (c *compactGrant) size() int {
	size := int(reflect.TypeFor[compactGrant]().Size()) + len(c.text) + entrySize
	if g := c.full; g != nil {
		return size + int(reflect.TypeFor[deviceauth.Grant]().Size()) + len(g.ClientID) + len(g.Scope) +
			len(g.UserCode) + len(g.Place) + len(g.Label) + sizeOf(g.Audience)
	}
	r := c.shared
	return size + int(reflect.TypeFor[request]().Size()) + len(r.client) + len(r.scope) + sizeOf(r.audience)
}

// sizeOf returns about how many bytes texts take.
func sizeOf(texts []string) (size int) {
	for _, text := range texts {
		size += int(reflect.TypeFor[string]().Size()) + len(text)
	}
	return size
}
