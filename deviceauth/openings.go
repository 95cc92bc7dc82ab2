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
	PerAddress int // from one address, or IPv6 prefix of 64 bits; default 500
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
	return []quota{{"address " + neighbourhood(from), b.PerAddress}, {"client " + client, b.PerClient}, {everybody, b.Total}}
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
