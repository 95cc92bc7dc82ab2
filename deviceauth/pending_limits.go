package deviceauth

import (
	"container/heap"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// PendingLimits limit how many grants may be pending at a time. Without them an
// attacker could fill the store, or make guessing easier with a large number of valid
// codes.
type PendingLimits struct {
	// PerAddress limits one IPv4 address, or one IPv6 /64; default 500. Larger
	// networks have a multiple of it: an IPv4 /24 and an IPv6 /56 four times, an IPv6
	// /48 sixteen times.
	PerAddress int
	PerClient  int // of one client; default 100,000
	Total      int // default 200,000
}

func (l *PendingLimits) fill() {
	orDefault(&l.PerAddress, 500)
	orDefault(&l.PerClient, 100_000)
	orDefault(&l.Total, 200_000)
}

// A pendingTable holds the pending grants that this process has created, and keeps
// them within the [PendingLimits]. At the limit of an address or a network, further
// requests from it are refused. The limits of a client and of all clients are shared
// by unrelated users, so there the network with the most pending grants must make
// room: its newest grant ends, and the new one takes its place. Each operation costs
// O(log n).
//
// The table only enforces limits and need not be exact: it is empty after a restart,
// and each of several gateways has its own. Grants that it does not contain expire by
// themselves.
type pendingTable struct {
	mu       sync.Mutex
	grants   map[ID]*pendingGrant
	expiring expiryHeap
	networks map[netip.Prefix]int // number of pending grants by address and by enclosing network
	all      pendingShare
	clients  map[string]*pendingShare
}

func newPendingTable() pendingTable {
	return pendingTable{
		grants: map[ID]*pendingGrant{}, networks: map[netip.Prefix]int{},
		all: newPendingShare(), clients: map[string]*pendingShare{},
	}
}

// A pendingGrant is the entry of a grant in the table.
type pendingGrant struct {
	id      ID
	client  string
	from    netip.Addr
	expires int64 // seconds; rounded up
	index   int   // in the expiry heap; -1: it has left the table
}

// wait returns how long the grant may still be pending, at least a second.
func (g *pendingGrant) wait(now time.Time) time.Duration {
	return max(time.Unix(g.expires, 0).Sub(now), time.Second)
}

// A networkAround is a network that may belong to a single customer of a provider,
// and the multiple of the limit of one address that applies to it.
type networkAround struct {
	prefix netip.Prefix
	times  int
}

// networksAround returns the address and its enclosing networks, the widest last. An
// IPv6 customer commonly has a /56, and a site a /48 (RFC 6177 §2): with a limit for
// each /64 alone, either could use up the total. All unknown addresses count as one.
// The result is an array, of which the first n elements are set, to save an
// allocation.
func networksAround(addr netip.Addr) (list [3]networkAround, n int) {
	within := func(bits, times int) networkAround {
		return networkAround{prefix: netip.PrefixFrom(addr, bits).Masked(), times: times}
	}
	switch {
	case addr.Is4():
		return [3]networkAround{within(32, 1), within(24, 4)}, 2
	case addr.Is6():
		return [3]networkAround{within(64, 1), within(56, 4), within(48, 16)}, 3
	}
	return [3]networkAround{{prefix: netip.Prefix{}, times: 1}}, 1
}

// site returns the widest network around an address. It counts as one party where a
// limit is shared with others.
func site(addr netip.Addr) netip.Prefix {
	around, n := networksAround(addr)
	return around[n-1].prefix
}

// acquire adds a grant to the table. At a limit it returns how long to wait before
// the next attempt. If another grant must make room, acquire returns its id, and the
// caller must end it.
func (t *pendingTable) acquire(l PendingLimits, g *Grant, now time.Time) (crowdedOut ID, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	entry := &pendingGrant{id: g.ID, client: g.ClientID, from: g.From, expires: g.Expires.Unix() + 1}
	networks, n := networksAround(entry.from)
	for _, around := range networks[:n] {
		if t.networks[around.prefix] >= around.times*l.PerAddress {
			return ID{}, t.all.networks[site(entry.from)].oldest().wait(now)
		}
	}
	for _, limit := range []struct {
		share *pendingShare
		most  int
	}{{t.client(g.ClientID), l.PerClient}, {&t.all, l.Total}} {
		if limit.share.count < limit.most || crowdedOut != (ID{}) {
			continue
		}
		newest := limit.share.givesWay(site(entry.from))
		if newest == nil {
			return ID{}, t.expiring[0].wait(now)
		}
		t.leave(newest)
		crowdedOut = newest.id
	}
	t.enter(entry)
	return crowdedOut, 0
}

// client returns the share of a client; [pendingTable.leave] removes an empty one.
func (t *pendingTable) client(id string) *pendingShare {
	share := t.clients[id]
	if share == nil {
		made := newPendingShare()
		share = &made
	}
	return share
}

// release removes a grant that is no longer pending.
func (t *pendingTable) release(id ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.grants[id]; g != nil {
		t.leave(g)
	}
}

// holds reports whether a grant is in the table.
func (t *pendingTable) holds(id ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.grants[id] != nil
}

// count returns the number of pending grants.
func (t *pendingTable) count(now time.Time) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	return t.all.count
}

func (t *pendingTable) expire(now time.Time) {
	for len(t.expiring) > 0 && t.expiring[0].expires <= now.Unix() {
		t.leave(t.expiring[0])
	}
}

func (t *pendingTable) enter(g *pendingGrant) {
	t.grants[g.id] = g
	heap.Push(&t.expiring, g)
	networks, n := networksAround(g.from)
	for _, around := range networks[:n] {
		t.networks[around.prefix]++
	}
	share := t.client(g.client)
	t.clients[g.client] = share
	share.add(site(g.from), g)
	t.all.add(site(g.from), g)
}

func (t *pendingTable) leave(g *pendingGrant) {
	delete(t.grants, g.id)
	heap.Remove(&t.expiring, g.index)
	g.index = -1
	networks, n := networksAround(g.from)
	for _, around := range networks[:n] {
		if t.networks[around.prefix]--; t.networks[around.prefix] == 0 {
			delete(t.networks, around.prefix)
		}
	}
	t.all.remove(site(g.from))
	if share := t.clients[g.client]; share.remove(site(g.from)) == 0 {
		delete(t.clients, g.client)
	}
}

// A pendingShare are the grants under one limit, counted by network.
type pendingShare struct {
	count    int
	networks map[netip.Prefix]*pendingNetwork
	most     networkHeap // the network with the most grants first
}

func newPendingShare() pendingShare {
	return pendingShare{networks: map[netip.Prefix]*pendingNetwork{}}
}

// A pendingNetwork are the grants of one network under one limit.
type pendingNetwork struct {
	grants []*pendingGrant // the oldest first; the first and the last one are still in the table
	count  int             // of those that are still in the table
	index  int             // in the heap of networks
}

func (h *pendingNetwork) oldest() *pendingGrant { return h.grants[0] }
func (h *pendingNetwork) newest() *pendingGrant { return h.grants[len(h.grants)-1] }

// givesWay returns the grant that must make room for one from another network: the
// newest of the network with the most grants, if that has more than the other network
// even after the exchange. With equal numbers no grant is ended: two networks would
// otherwise end each other's grants for ever.
func (s *pendingShare) givesWay(to netip.Prefix) *pendingGrant {
	has := 0
	if h := s.networks[to]; h != nil {
		has = h.count
	}
	if len(s.most) == 0 || s.most[0].count <= has+1 {
		return nil
	}
	return s.most[0].newest()
}

func (s *pendingShare) add(from netip.Prefix, g *pendingGrant) {
	s.count++
	h := s.networks[from]
	if h == nil {
		h = new(pendingNetwork)
		s.networks[from] = h
		heap.Push(&s.most, h)
	}
	h.grants = append(h.grants, g)
	h.count++
	heap.Fix(&s.most, h.index)
}

// remove updates the share after a grant of a network has left the table, and returns
// the number of remaining grants.
func (s *pendingShare) remove(from netip.Prefix) int {
	s.count--
	h := s.networks[from]
	if h.count--; h.count == 0 {
		heap.Remove(&s.most, h.index)
		delete(s.networks, from)
		return s.count
	}
	heap.Fix(&s.most, h.index)
	left := func(g *pendingGrant) bool { return g.index < 0 }
	for left(h.newest()) {
		h.grants = h.grants[:len(h.grants)-1]
	}
	for left(h.oldest()) {
		h.grants = h.grants[1:]
	}
	if len(h.grants) > 2*h.count {
		h.grants = slices.DeleteFunc(h.grants, left)
	}
	return s.count
}
