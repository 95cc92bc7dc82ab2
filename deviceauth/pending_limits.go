package deviceauth

import (
	"container/heap"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// PendingLimits are how many grants may be pending at a time, so that nobody
// fills the store, or makes guessing easier by opening codes without end.
type PendingLimits struct {
	// PerAddress is from one IPv4 address, or IPv6 prefix of 64 bits; default
	// 500. Networks around it have a multiple: an IPv4 /24 and an IPv6 /56 four
	// times as many, an IPv6 /48 sixteen times.
	PerAddress int
	PerClient  int // of one client; default 100,000
	Total      int // default 200,000
}

func (l *PendingLimits) fill() {
	orDefault(&l.PerAddress, 500)
	orDefault(&l.PerClient, 100_000)
	orDefault(&l.Total, 200_000)
}

// A pendingTable holds the grants that wait, as far as this process has begun
// them, and keeps them within the [PendingLimits]. Above the limit of an address
// or a network around it nobody of there gets another one. The limits of a client
// and of all are shared by strangers, so there whoever holds most gives way: at
// the limit the newest grant of the network with most of them ends, and the new
// one has its place. Each step costs O(log n).
//
// The table is a limit and no book-keeping: after a restart it begins anew, and
// each of several gateways has its own. What it does not know expires by itself.
type pendingTable struct {
	mu       sync.Mutex
	grants   map[ID]*pendingGrant
	expiring expiryHeap
	networks map[netip.Prefix]int // how many wait, by address and by network around it
	all      pendingShare
	clients  map[string]*pendingShare
}

func newPendingTable() pendingTable {
	return pendingTable{
		grants: map[ID]*pendingGrant{}, networks: map[netip.Prefix]int{},
		all: newPendingShare(), clients: map[string]*pendingShare{},
	}
}

// A pendingGrant is a grant's place in the table.
type pendingGrant struct {
	id      ID
	client  string
	from    netip.Addr
	expires int64 // seconds; rounded up
	index   int   // in the heap of what expires next; -1: it has left the table
}

// wait is how long a grant may still wait: at least a second.
func (g *pendingGrant) wait(now time.Time) time.Duration {
	return max(time.Unix(g.expires, 0).Sub(now), time.Second)
}

// A networkAround is a network that one customer of a provider may hold as a
// whole, and how many times the limit of a single address it has.
type networkAround struct {
	prefix netip.Prefix
	times  int
}

// networksAround returns an address and the networks around it, the widest last.
// An IPv6 customer is commonly given a /56, and a site a /48 (RFC 6177 §2):
// limits of a /64 alone would let either of them have all the pending grants
// that there may be. Addresses that are not known count as one.
// The array costs no memory; the first n of it are meant.
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

// site is the widest network around an address: who shares a limit with
// strangers, as one party.
func site(addr netip.Addr) netip.Prefix {
	around, n := networksAround(addr)
	return around[n-1].prefix
}

// acquire gives a grant its place, or returns how long to wait until there may
// be one. Where another grant has to give way, its id is returned: the caller
// ends it.
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

// client returns the share of a client; [pendingTable.leave] forgets it again.
func (t *pendingTable) client(id string) *pendingShare {
	share := t.clients[id]
	if share == nil {
		made := newPendingShare()
		share = &made
	}
	return share
}

// release notes that a grant waits no more.
func (t *pendingTable) release(id ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if g := t.grants[id]; g != nil {
		t.leave(g)
	}
}

// holds reports whether a grant still has its place.
func (t *pendingTable) holds(id ID) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.grants[id] != nil
}

// count returns how many wait.
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

// A pendingShare is what strangers share under one limit, by who holds how much.
type pendingShare struct {
	count    int
	networks map[netip.Prefix]*pendingNetwork
	most     networkHeap // the network with the most grants first
}

func newPendingShare() pendingShare {
	return pendingShare{networks: map[netip.Prefix]*pendingNetwork{}}
}

// A pendingNetwork is the grants of one network under one limit.
type pendingNetwork struct {
	grants []*pendingGrant // the oldest first; the first and the last have not left the table
	count  int             // of them that have not
	index  int             // in the heap of networks
}

func (h *pendingNetwork) oldest() *pendingGrant { return h.grants[0] }
func (h *pendingNetwork) newest() *pendingGrant { return h.grants[len(h.grants)-1] }

// givesWay returns the grant that makes room for one from a network: the newest
// of whoever holds most, if they hold more even after it. Nobody gives way to
// who holds as many: two who ask in turn would end each other's for ever.
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

// remove notes that a grant of a network has left the table, and returns how
// many of all are left.
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
