package limit

import (
	"container/heap"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// PendingLimits are the limits of a [Pending]: how many requests may wait at a time.
type PendingLimits struct {
	// PerAddress limits one IPv4 address, or one IPv6 /64. Larger networks have a
	// multiple of it: an IPv4 /24 and an IPv6 /56 four times, an IPv6 /48 sixteen times.
	PerAddress int
	PerClient  int // of one client
	Total      int
}

// A Request is a request that waits for an answer.
type Request struct {
	ID      [16]byte
	Client  string
	From    netip.Addr
	Expires time.Time // when it stops waiting by itself
}

// Pending holds the requests that wait in this process, within [PendingLimits]. At the
// limit of an address or a network, further requests from it are refused. The limits of
// a client and of all clients are shared by unrelated devices, so there the network with
// the most requests must make room: its newest request ends, and the new one takes its
// place. Each operation costs O(log n).
//
// It only enforces limits and need not be exact: it is empty after a restart, and each of
// several processes has its own. Requests that it does not contain expire by themselves.
// It is safe for concurrent use.
type Pending struct {
	mu       sync.Mutex
	requests map[[16]byte]*entry
	expiring expiryHeap
	networks map[netip.Prefix]int // number of requests by address and by enclosing network
	all      share
	clients  map[string]*share
}

// NewPending returns an empty Pending.
func NewPending() *Pending {
	return &Pending{
		requests: map[[16]byte]*entry{}, networks: map[netip.Prefix]int{},
		all: newShare(), clients: map[string]*share{},
	}
}

// An entry is a request in a [Pending].
type entry struct {
	id      [16]byte
	client  string
	from    netip.Addr
	expires int64 // seconds; rounded up
	index   int   // in the expiry heap; -1: it has left
}

// wait returns how long the request may still wait, at least a second.
func (e *entry) wait(now time.Time) time.Duration {
	return max(time.Unix(e.expires, 0).Sub(now), time.Second)
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

// Acquire adds a request. At a limit it returns how long to wait before the next
// attempt. If another request must make room, Acquire returns its id, and the caller must
// end it.
func (p *Pending) Acquire(l PendingLimits, r Request, now time.Time) (crowdedOut [16]byte, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(now)
	added := &entry{id: r.ID, client: r.Client, from: r.From, expires: r.Expires.Unix() + 1}
	networks, n := networksAround(r.From)
	for _, around := range networks[:n] {
		if p.networks[around.prefix] >= around.times*l.PerAddress {
			return crowdedOut, p.all.networks[site(r.From)].oldest().wait(now)
		}
	}
	for _, limit := range []struct {
		share *share
		most  int
	}{{p.client(r.Client), l.PerClient}, {&p.all, l.Total}} {
		if limit.share.count < limit.most || crowdedOut != [16]byte{} {
			continue
		}
		newest := limit.share.givesWay(site(r.From))
		if newest == nil {
			return crowdedOut, p.expiring[0].wait(now)
		}
		p.leave(newest)
		crowdedOut = newest.id
	}
	p.enter(added)
	return crowdedOut, 0
}

// client returns the share of a client; [Pending.leave] removes an empty one.
func (p *Pending) client(id string) *share {
	if known := p.clients[id]; known != nil {
		return known
	}
	added := newShare()
	return &added
}

// Release removes a request that no longer waits.
func (p *Pending) Release(id [16]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.requests[id]; e != nil {
		p.leave(e)
	}
}

// Holds reports whether a request waits.
func (p *Pending) Holds(id [16]byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.requests[id] != nil
}

// Count returns the number of requests that wait.
func (p *Pending) Count(now time.Time) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(now)
	return p.all.count
}

func (p *Pending) expire(now time.Time) {
	for len(p.expiring) > 0 && p.expiring[0].expires <= now.Unix() {
		p.leave(p.expiring[0])
	}
}

func (p *Pending) enter(e *entry) {
	p.requests[e.id] = e
	heap.Push(&p.expiring, e)
	networks, n := networksAround(e.from)
	for _, around := range networks[:n] {
		p.networks[around.prefix]++
	}
	share := p.client(e.client)
	p.clients[e.client] = share
	share.add(site(e.from), e)
	p.all.add(site(e.from), e)
}

func (p *Pending) leave(e *entry) {
	delete(p.requests, e.id)
	heap.Remove(&p.expiring, e.index)
	e.index = -1
	networks, n := networksAround(e.from)
	for _, around := range networks[:n] {
		if p.networks[around.prefix]--; p.networks[around.prefix] == 0 {
			delete(p.networks, around.prefix)
		}
	}
	p.all.remove(site(e.from))
	if share := p.clients[e.client]; share.remove(site(e.from)) == 0 {
		delete(p.clients, e.client)
	}
}

// A share are the requests under one limit, counted by network.
type share struct {
	count    int
	networks map[netip.Prefix]*network
	most     networkHeap // the network with the most requests first
}

func newShare() share {
	return share{networks: map[netip.Prefix]*network{}}
}

// A network are the requests of one network under one limit.
type network struct {
	requests []*entry // the oldest first; the first and the last one still wait
	count    int      // of those that still wait
	index    int      // in the heap of networks
}

func (h *network) oldest() *entry { return h.requests[0] }
func (h *network) newest() *entry { return h.requests[len(h.requests)-1] }

// givesWay returns the request that must make room for one from another network: the
// newest of the network with the most requests, if that has more than the other network
// even after the exchange. With equal numbers none must: two networks would otherwise
// end each other's requests for ever.
func (s *share) givesWay(to netip.Prefix) *entry {
	has := 0
	if h := s.networks[to]; h != nil {
		has = h.count
	}
	if len(s.most) == 0 || s.most[0].count <= has+1 {
		return nil
	}
	return s.most[0].newest()
}

func (s *share) add(from netip.Prefix, e *entry) {
	s.count++
	h := s.networks[from]
	if h == nil {
		h = new(network)
		s.networks[from] = h
		heap.Push(&s.most, h)
	}
	h.requests = append(h.requests, e)
	h.count++
	heap.Fix(&s.most, h.index)
}

// remove updates the share after a request of a network has left, and returns the number
// of those that remain.
func (s *share) remove(from netip.Prefix) int {
	s.count--
	h := s.networks[from]
	if h.count--; h.count == 0 {
		heap.Remove(&s.most, h.index)
		delete(s.networks, from)
		return s.count
	}
	heap.Fix(&s.most, h.index)
	left := func(e *entry) bool { return e.index < 0 }
	for left(h.newest()) {
		h.requests = h.requests[:len(h.requests)-1]
	}
	for left(h.oldest()) {
		h.requests = h.requests[1:]
	}
	if len(h.requests) > 2*h.count {
		h.requests = slices.DeleteFunc(h.requests, left)
	}
	return s.count
}
