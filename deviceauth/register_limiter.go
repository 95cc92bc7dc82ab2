package deviceauth

import (
	"net/netip"
	"sync"
	"time"
)

// The clients that may register in a minute, by one address and by all.
const (
	registerPerAddress = 10
	registerTotal      = 60
)

// registerLimiter counts the clients that register, minute by minute, in memory.
type registerLimiter struct {
	mu     sync.Mutex
	minute time.Time
	by     map[netip.Prefix]int
	total  int
}

// wait counts one, and returns how long it is to wait; 0: it is served.
func (l *registerLimiter) wait(from netip.Addr, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.minute); age < 0 || age >= time.Minute {
		l.minute, l.by, l.total = now, map[netip.Prefix]int{}, 0
	}
	bits := 32
	if from.Is6() {
		bits = 64
	}
	network, _ := from.Prefix(bits)
	if l.by[network] >= registerPerAddress || l.total >= registerTotal {
		return l.minute.Add(time.Minute).Sub(now)
	}
	l.by[network]++
	l.total++
	return 0
}
