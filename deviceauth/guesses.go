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

// guessCount is a window that opens at the first wrong code.
type guessCount struct {
	wrong int
	ends  time.Time
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
	if addr = addr.Unmap(); addr.Is6() {
		if prefix, err := addr.WithZone("").Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// guess counts a guess before it is looked at, so that of many at once none
// slips through, or returns how long to wait. Where gateways share a store they
// count together; while that is away each counts for itself, as it always does.
func (l *Live) guess(ctx context.Context, list []guessLimit, now time.Time) (wait time.Duration) {
	if wait = l.guesses.take(list, now); wait > 0 || l.shared == nil {
		return wait
	}
	for i, limit := range list {
		count, err := l.shared.CountUp(ctx, limit.key, limit.window)
		if err == nil && count.N > limit.most {
			wait = max(wait, count.Ends.Sub(now), time.Second)
			l.guesses.putBack(list, now)
			for _, counted := range list[:i+1] {
				l.shared.CountDown(ctx, counted.key)
			}
			return wait
		}
	}
	return 0
}

// rightGuess takes back the one that was counted for a code that was right, or
// that nobody could look up. What was wrong before stays counted.
func (l *Live) rightGuess(ctx context.Context, list []guessLimit, now time.Time) {
	l.guesses.putBack(list, now)
	if l.shared == nil {
		return
	}
	for _, limit := range list {
		l.shared.CountDown(ctx, limit.key)
	}
}

// take counts one more, or returns how long to wait.
func (g *guesses) take(list []guessLimit, now time.Time) (longest time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, limit := range list {
		if c := g.counts[limit.key]; c != nil && c.wrong >= limit.most {
			longest = max(longest, c.ends.Sub(now))
		}
	}
	if longest > 0 {
		return longest
	}
	for _, limit := range list {
		c := g.counts[limit.key]
		if c == nil || !now.Before(c.ends) {
			g.sweep(now)
			c = &guessCount{ends: now.Add(limit.window)}
			g.counts[limit.key] = c
		}
		c.wrong++
	}
	return 0
}

func (g *guesses) putBack(list []guessLimit, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, limit := range list {
		if c := g.counts[limit.key]; c != nil && c.wrong > 0 && now.Before(c.ends) {
			c.wrong--
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
		if !now.Before(c.ends) || len(g.counts) >= maxGuessers && key != "all" {
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
