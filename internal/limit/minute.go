package limit

import (
	"net/netip"
	"sync"
	"time"
)

// PerMinute limits how often something is done in a minute, counted in memory: from one
// IPv4 address or IPv6 /64, from the network around it (/24, /48), and in total. The
// network counts because a single customer of a provider has many IPv6 addresses. It is
// safe for concurrent use; the limits must not be changed after the first use.
type PerMinute struct {
	PerAddress, PerNetwork, Total int

	mu     sync.Mutex
	minute time.Time
	by     map[netip.Prefix]int
	all    int
}

// Take counts one, or returns how long to wait, without counting. Check and count are one
// step, so that simultaneous requests cannot exceed the limit.
func (l *PerMinute) Take(from netip.Addr, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.minute); age < 0 || age >= time.Minute {
		l.minute, l.by, l.all = now, map[netip.Prefix]int{}, 0
	}
	around, _ := networksAround(from)
	address, network := around[0].prefix, site(from)
	if l.by[address] >= l.PerAddress || l.by[network] >= l.PerNetwork || l.all >= l.Total {
		return l.minute.Add(time.Minute).Sub(now)
	}
	l.by[address]++
	l.by[network]++
	l.all++
	return 0
}
