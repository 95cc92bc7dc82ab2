package deviceauth

import (
	"net/netip"
	"sync"
	"time"
)

// Limits of registrations per minute: from one address, from the network around it,
// and in total. The network counts because a single customer of a provider has many
// IPv6 addresses.
const (
	registerPerAddress = 10
	registerPerNetwork = 20
	registerTotal      = 300
)

// registerLimiter counts registrations by the minute, in memory.
type registerLimiter struct {
	mu     sync.Mutex
	minute time.Time
	by     map[netip.Prefix]int
	total  int
}

// take counts a registration, or returns how long to wait, without counting. Check
// and count are one step, so that simultaneous requests cannot exceed the limit. A
// registration that the store then fails to write has been counted.
func (l *registerLimiter) take(from netip.Addr, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.minute); age < 0 || age >= time.Minute {
		l.minute, l.by, l.total = now, map[netip.Prefix]int{}, 0
	}
	address, network := registeringFrom(from)
	if l.by[address] >= registerPerAddress || l.by[network] >= registerPerNetwork || l.total >= registerTotal {
		return l.minute.Add(time.Minute).Sub(now)
	}
	l.by[address]++
	l.by[network]++
	l.total++
	return 0
}

// registeringFrom returns the networks for which an address counts: its own, which is
// a /64 with IPv6, and the one around it.
func registeringFrom(from netip.Addr) (address, network netip.Prefix) {
	own, around := 32, 24
	if from.Is6() {
		own, around = 64, 48
	}
	address, _ = from.Prefix(own) // an invalid address gives the zero prefix, which all of them share
	network, _ = from.Prefix(around)
	return address, network
}
