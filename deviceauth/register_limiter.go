package deviceauth

import (
	"net/netip"
	"sync"
	"time"
)

// The clients that may register in a minute: by one address, by the networks around it, each
// a multiple, and by all. One customer of a provider has many addresses of IPv6.
const (
	registerPerAddress = 10
	registerPerNetwork = 20
	registerTotal      = 300
)

// registerLimiter counts the clients that register, minute by minute, in memory.
type registerLimiter struct {
	mu     sync.Mutex
	minute time.Time
	by     map[netip.Prefix]int
	total  int
}

// take counts a client that is about to register, or returns how long it is to wait, and
// counts nothing. It is one step, so that many at once get no more than one after another;
// a client that the store then refuses has been counted.
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

// registeringFrom are the networks that an address counts for: its own, which is a /64 of
// IPv6, and the one around it.
func registeringFrom(from netip.Addr) (address, network netip.Prefix) {
	own, around := 32, 24
	if from.Is6() {
		own, around = 64, 48
	}
	address, _ = from.Prefix(own) // of no address: the zero prefix, which all of them share
	network, _ = from.Prefix(around)
	return address, network
}
