package deviceauth

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// guesses counts wrong user codes, so that the 34 bits of a code are never
// tried out: by address, because machines guess; by person, because a guesser
// may have many addresses but must sign in; and in total, because accounts can
// be many too. A right code resets nothing, or a guesser would own one.
type guesses struct {
	mu     sync.Mutex
	counts map[string]*guessCount
}

// guessCount is a window that opens at the first guess.
type guessCount struct {
	wrong   int
	looking int // guesses of which nobody knows yet
	ends    time.Time
}

// A guessLimit is how many wrong codes one key may have in one window.
type guessLimit struct {
	key    string
	most   int
	window time.Duration
}

// maxGuessers bounds the memory to some 10 MiB.
const maxGuessers = 100_000

// limits are those that a guess counts against.
func limits(p *Person, from netip.Addr) []guessLimit {
	return []guessLimit{
		{"address " + neighbourhood(from), 5, 10 * time.Minute},
		{"person " + p.Subject, 10, 10 * time.Minute},
		{"all", 600, time.Minute},
	}
}

// neighbourhood is what one guesser has for nothing: an IPv4 address, or an
// IPv6 prefix of 64 bits.
func neighbourhood(addr netip.Addr) string {
	if addr = embedded(addr); addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// The IPv6 prefixes below which an IPv4 address stands: NAT64 (RFC 6052 §2.1)
// and 6to4 (RFC 3056 §2), beside IPv4-mapped addresses (RFC 4291 §2.5.5.2).
var (
	nat64  = netip.MustParsePrefix("64:ff9b::/96")
	sixTo4 = netip.MustParsePrefix("2002::/16")
)

// embedded returns the IPv4 address that an IPv6 address stands for, or the
// address itself, without a zone: whoever has one IPv4 address must not be
// counted under a second name.
func embedded(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if !addr.Is6() {
		return addr
	}
	raw := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[12:16]))
	case sixTo4.Contains(addr):
		return netip.AddrFrom4([4]byte(raw[2:6]))
	}
	return addr
}

// guess counts a guess before it is looked at, so that of many at once none
// slips through, or returns how long to wait. A guess that others stand before
// waits for them: they may be right, and then it has its turn. Where gateways
// share a store they count together; while that is away each counts for itself.
func (l *Live) guess(ctx context.Context, list []guessLimit, now time.Time) time.Duration {
	for turn := 0; ; turn++ {
		wait, busy := l.guesses.take(list, now)
		if wait == 0 {
			if wait = l.countTogether(ctx, list, now); wait == 0 {
				return 0
			}
			l.guesses.settle(list, false)
			busy = true // who knows what others look at
		}
		if !busy || turn == guessTurns {
			return wait
		}
		select {
		case <-time.After(guessTurn):
		case <-ctx.Done():
			return wait
		}
	}
}

// A look-up takes milliseconds; this is how long it is waited for.
const (
	guessTurns = 20
	guessTurn  = 10 * time.Millisecond
)

// countTogether counts a guess in the store that gateways share.
func (l *Live) countTogether(ctx context.Context, list []guessLimit, now time.Time) (wait time.Duration) {
	if l.shared == nil {
		return 0
	}
	for i, limit := range list {
		count, err := l.shared.CountUp(ctx, limit.key, limit.window)
		if err == nil && count.N > limit.most {
			for _, counted := range list[:i+1] {
				l.shared.CountDown(ctx, counted.key)
			}
			return max(count.Ends.Sub(now), time.Second)
		}
	}
	return 0
}

// guessed ends a guess. One that was wrong stays counted; one that was right
// takes back what was counted for it, and nothing else.
func (l *Live) guessed(ctx context.Context, list []guessLimit, wrong bool) {
	l.guesses.settle(list, wrong)
	if l.shared == nil || wrong {
		return
	}
	for _, limit := range list {
		l.shared.CountDown(ctx, limit.key)
	}
}

// take notes a guess under way, or returns how long to wait; busy says that
// some of what stands before it may yet turn out to be right.
func (g *guesses) take(list []guessLimit, now time.Time) (wait time.Duration, busy bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	busy = true
	for _, limit := range list {
		c := g.counts[limit.key]
		if c == nil || !now.Before(c.ends) || c.wrong+c.looking < limit.most {
			continue
		}
		wait = max(wait, c.ends.Sub(now))
		busy = busy && c.wrong < limit.most
	}
	if wait > 0 {
		return wait, busy
	}
	for _, limit := range list {
		c := g.counts[limit.key]
		if c == nil {
			g.sweep(now)
			c = new(guessCount)
			g.counts[limit.key] = c
		}
		if !now.Before(c.ends) {
			c.wrong, c.ends = 0, now.Add(limit.window)
		}
		c.looking++
	}
	return 0, false
}

func (g *guesses) settle(list []guessLimit, wrong bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, limit := range list {
		c := g.counts[limit.key]
		if c == nil {
			continue
		}
		c.looking--
		if wrong {
			c.wrong++
		}
		if c.wrong == 0 && c.looking <= 0 {
			delete(g.counts, limit.key)
		}
	}
}

// sweep makes room as Live's does; at the bound the counts in total still hold.
func (g *guesses) sweep(now time.Time) {
	looks := 4
	for key, c := range g.counts {
		if looks--; looks < 0 {
			return
		}
		if c.looking == 0 && (!now.Before(c.ends) || len(g.counts) >= maxGuessers && key != "all") {
			delete(g.counts, key)
		}
	}
}

// Throttled is a refusal to do anything now, with the time to wait.
type Throttled struct {
	Refusal
	Wait time.Duration
}

func (t *Throttled) Unwrap() error { return &t.Refusal }
