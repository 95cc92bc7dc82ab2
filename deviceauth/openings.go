package deviceauth

import (
	"container/heap"
	"net/netip"
	"sync"
	"time"
)

// Bounds are how many grants may be pending at a time, so that nobody fills the
// store, or makes guessing easier by opening codes without end.
type Bounds struct {
	// PerAddress is from one IPv4 address, or IPv6 prefix of 64 bits; default
	// 500. Networks around it have a multiple: an IPv4 /24 and an IPv6 /56 four
	// times as many, an IPv6 /48 sixteen times.
	PerAddress int
	PerClient  int // of one client; default 100,000
	Total      int // default 200,000
}

func (b *Bounds) fill() {
	orDefault(&b.PerAddress, 500)
	orDefault(&b.PerClient, 100_000)
	orDefault(&b.Total, 200_000)
}

// openings counts pending grants by when they expire at the latest. It is a
// bound and no book-keeping: after a restart it begins anew.
type openings struct {
	mu sync.Mutex
	by map[string]*expiries // by key
}

// expiries are the seconds of expiry of pending grants: a heap, because each
// client may have its own lifetime of codes.
type expiries []int64

func (e expiries) Len() int           { return len(e) }
func (e expiries) Less(i, j int) bool { return e[i] < e[j] }
func (e expiries) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *expiries) Push(x any)        { *e = append(*e, x.(int64)) }

func (e *expiries) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// A quota is how many grants one key may have waiting.
type quota struct {
	key  string
	most int
}

func (b Bounds) quotas(from netip.Addr, client string) []quota {
	list := []quota{{"address " + neighbourhood(embedded(from)), b.PerAddress}, {"client " + client, b.PerClient}, {everybody, b.Total}}
	for _, around := range surroundings(from) {
		list = append(list, quota{"network " + around.prefix.String(), around.times * b.PerAddress})
	}
	return list
}

// A surrounding is a network that one customer of a provider may hold as a
// whole, and how many times the bound of a single address it has.
type surrounding struct {
	prefix netip.Prefix
	times  int
}

// surroundings are the networks around an address. An IPv6 customer is commonly
// given a /56, and a site a /48 (RFC 6177 §2): bounds of a /64 alone would let
// either of them have all the pending grants that there may be.
func surroundings(addr netip.Addr) (list []surrounding) {
	addr = embedded(addr)
	around := []surrounding{{netip.PrefixFrom(addr, 56), 4}, {netip.PrefixFrom(addr, 48), 16}}
	if addr.Is4() {
		around = []surrounding{{netip.PrefixFrom(addr, 24), 4}}
	}
	for _, s := range around {
		if s.prefix.IsValid() { // an address that is not known has no network
			list = append(list, surrounding{s.prefix.Masked(), s.times})
		}
	}
	return list
}

// everybody is the key of the total.
const everybody = "all"

// take notes one more, or returns how long to wait until there is room again.
func (o *openings) take(list []quota, now, expires time.Time) (wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sweep(now)
	for _, q := range list {
		o.expire(q.key, now)
		if open := o.by[q.key]; open != nil && open.Len() >= q.most {
			wait = max(wait, time.Unix((*open)[0], 0).Sub(now))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, q := range list {
		if o.by[q.key] == nil {
			o.by[q.key] = new(expiries)
		}
		heap.Push(o.by[q.key], expires.Unix()+1)
	}
	return 0
}

// free notes that one of them waits no more. Which one makes no difference to
// the count, so it is the one that would expire first.
func (o *openings) free(list []quota) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, q := range list {
		if open := o.by[q.key]; open != nil && open.Len() > 0 {
			heap.Pop(open)
		}
	}
}

func (o *openings) expire(key string, now time.Time) {
	open := o.by[key]
	if open == nil {
		return
	}
	for open.Len() > 0 && (*open)[0] <= now.Unix() {
		heap.Pop(open)
	}
	if open.Len() == 0 {
		delete(o.by, key)
	}
}

// count returns how many wait.
func (o *openings) count(now time.Time) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expire(everybody, now)
	if open := o.by[everybody]; open != nil {
		return open.Len()
	}
	return 0
}

// sweep looks at a few keys of whom nothing was heard, as Live's does.
func (o *openings) sweep(now time.Time) {
	looks := 4
	for key := range o.by {
		if looks--; looks < 0 {
			return
		}
		o.expire(key, now)
	}
}
