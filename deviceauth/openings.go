package deviceauth

import (
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
	by map[string][]int64 // by key, the seconds of expiry, the earliest first
}

// A quota is how many grants one key may have waiting.
type quota struct {
	key  string
	most int
}

func (b Bounds) quotas(from netip.Addr, client string) []quota {
	return []quota{{"address " + neighbourhood(from), b.PerAddress}, {"client " + client, b.PerClient}, {"all", b.Total}}
}

// take notes one more, or returns how long to wait until there is room again.
func (o *openings) take(list []quota, now, expires time.Time) (wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sweep(now)
	for _, q := range list {
		o.expire(q.key, now)
		if open := o.by[q.key]; len(open) >= q.most {
			wait = max(wait, time.Unix(open[0], 0).Sub(now))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, q := range list {
		o.by[q.key] = append(o.by[q.key], expires.Unix()+1)
	}
	return 0
}

// free notes that one of them waits no more. Which one makes no difference to
// the count, so it is the one that would expire first.
func (o *openings) free(list []quota) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, q := range list {
		if open := o.by[q.key]; len(open) > 0 {
			o.by[q.key] = open[1:]
		}
	}
}

func (o *openings) expire(key string, now time.Time) {
	open := o.by[key]
	for len(open) > 0 && open[0] <= now.Unix() {
		open = open[1:]
	}
	o.by[key] = open
	if len(open) == 0 {
		delete(o.by, key)
	}
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
