package deviceauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// A userCodeLimiter counts wrong user codes, so that the 34 bits of a code are
// never tried out (RFC 8628 §5.1). What stops a guesser must not stop whoever
// shares something with the guesser: an address is an office or a whole mobile
// network, and the total is everybody. Both therefore stop only people who have
// typed a wrong code themselves, up to a total that no typing explains. A right
// code resets nothing, or a guesser would own one.
//
// Its memory is bounded by that total: each wrong code makes at most three
// counts, which live for ten minutes, so there are never more than 99,000. No
// count that still matters is ever dropped to make room for another one.
type userCodeLimiter struct {
	mu     sync.Mutex
	counts map[string]*userCodeCount
}

// A userCodeCount is a window that opens at the first code.
type userCodeCount struct {
	wrong   int
	looking int // codes that are being looked up: not known to be wrong yet
	ends    time.Time
	codes   []codeDigest // of a person: what was wrong in this window
}

// A codeDigest tells a person's wrong codes apart without keeping them: one may
// be a letter away from a right one.
type codeDigest [16]byte

// A guess is a code that a person types.
type guess struct {
	code   codeDigest
	limits []userCodeLimit // the person's own is the first
}

// A userCodeLimit is how many wrong codes one key may have in one window.
type userCodeLimit struct {
	key    string
	window time.Duration
	most   int // by people who typed a wrong code in their own window
	hard   int // by all
}

func (l userCodeLimit) stops(count int, wrongBefore bool) bool {
	if wrongBefore {
		return count >= l.most
	}
	return count >= l.hard
}

const (
	guessWindow      = 10 * time.Minute
	guessesBrowser   = 5     // of one session of a browser, at one address
	guessesPerson    = 10    // of one person, whatever they use
	guessesAddress   = 50    // of people who type wrong codes, at one address
	guessesTotal     = 600   // a minute, of people who type wrong codes
	guessesTotalHard = 3_000 // a minute, of all
)

// guess returns what a person's code counts against. Without a browser's
// session, as in a Go program with pages of its own, the person is the session.
func (r InspectRequest) guess(code UserCode) guess {
	session, address := "of "+r.Person.Subject, neighbourhood(r.From)
	if r.Browser != "" {
		session = r.Browser
	}
	sum := sha256.Sum256([]byte(r.Person.Subject + "\x00" + string(code)))
	return guess{code: codeDigest(sum[:16]), limits: []userCodeLimit{
		{key: "person " + r.Person.Subject, window: guessWindow, most: guessesPerson, hard: guessesPerson},
		{key: "browser " + session + " " + address, window: guessWindow, most: guessesBrowser, hard: guessesBrowser},
		{key: "address " + address, window: guessWindow, most: guessesAddress, hard: math.MaxInt},
		{key: "all", window: time.Minute, most: guessesTotal, hard: guessesTotalHard},
	}}
}

// neighbourhood is what one guesser has for nothing: an IPv4 address, or an
// IPv6 prefix of 64 bits.
func neighbourhood(addr netip.Addr) string {
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// beginGuess counts a guess before it is looked at, so that of many at once none
// slips through, or returns how long to wait. A guess that others stand before
// waits for them: they may be right, and then it has its turn. Where gateways
// share a store they count together; while that is away each counts for itself.
func (s *PollState) beginGuess(ctx context.Context, g guess, now time.Time) time.Duration {
	for turn := 0; ; turn++ {
		wait, busy := s.userCodes.begin(g, now)
		if wait == 0 {
			if wait = s.countTogether(ctx, g, now); wait == 0 {
				return 0
			}
			s.userCodes.end(g, false)
			busy = turn < sharedTurns // who knows what others look at
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

// A look-up takes milliseconds; this is how long it is waited for. Counts that
// gateways share tell nothing of what is only looked at, and each turn costs
// several commands: there are few.
const (
	guessTurns  = 20
	sharedTurns = 2
	guessTurn   = 10 * time.Millisecond
)

// afterwards is a context for what has to be put right after a request, and must
// not depend on whether its client is still there.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), afterwardsWait)
}

const afterwardsWait = 5 * time.Second

// countTogether counts a guess in the store that gateways share.
func (s *PollState) countTogether(ctx context.Context, g guess, now time.Time) (wait time.Duration) {
	if s.shared == nil {
		return 0
	}
	wrongBefore := false
	for i, limit := range g.limits {
		count, err := s.shared.CountUp(ctx, limit.key, limit.window)
		if err != nil {
			continue
		}
		if i == 0 {
			wrongBefore = count.N > 1
		}
		if limit.stops(count.N-1, wrongBefore) {
			s.countDown(ctx, g.limits[:i+1])
			return max(count.Ends.Sub(now), time.Second)
		}
	}
	return 0
}

func (s *PollState) countDown(ctx context.Context, limits []userCodeLimit) {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	for _, limit := range limits {
		s.shared.CountDown(ctx, limit.key)
	}
}

// endGuess ends a guess. One that was wrong stays counted, unless this person's
// same code already is: a form that is posted twice, or a page that is loaded
// again. One that was right takes back what was counted for it, and nothing else,
// also where the browser has gone away meanwhile.
func (s *PollState) endGuess(ctx context.Context, g guess, wrong bool) {
	counted := s.userCodes.end(g, wrong)
	if s.shared == nil {
		return
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if counted {
		before, err := s.shared.CountUp(ctx, g.limits[0].key+" "+hex.EncodeToString(g.code[:]), guessWindow)
		counted = err != nil || before.N == 1
	}
	if !counted {
		s.countDown(ctx, g.limits)
	}
}

// begin notes a guess under way, or returns how long to wait; busy says that
// some of what stands before it may yet turn out to be right.
func (u *userCodeLimiter) begin(g guess, now time.Time) (wait time.Duration, busy bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	busy = true
	wrongBefore := false
	for i, limit := range g.limits {
		c := u.counts[limit.key]
		if c == nil || !now.Before(c.ends) {
			continue
		}
		if i == 0 {
			wrongBefore = c.wrong > 0
		}
		if limit.stops(c.wrong+c.looking, wrongBefore) {
			wait = max(wait, c.ends.Sub(now))
			busy = busy && !limit.stops(c.wrong, wrongBefore)
		}
	}
	if wait > 0 {
		return wait, busy
	}
	for _, limit := range g.limits {
		u.count(limit, now).looking++
	}
	return 0, false
}

// count returns a limit's count in a window that has not ended.
func (u *userCodeLimiter) count(limit userCodeLimit, now time.Time) *userCodeCount {
	c := u.counts[limit.key]
	if c == nil {
		sweep.AFew(u.counts, func(_ string, c *userCodeCount) bool { return c.looking == 0 && !now.Before(c.ends) })
		c = new(userCodeCount)
		u.counts[limit.key] = c
	}
	if !now.Before(c.ends) {
		c.wrong, c.codes, c.ends = 0, nil, now.Add(limit.window)
	}
	return c
}

// end reports whether the guess stays counted.
func (u *userCodeLimiter) end(g guess, wrong bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if person := u.counts[g.limits[0].key]; wrong && person != nil {
		if wrong = !slices.Contains(person.codes, g.code); wrong {
			person.codes = append(person.codes, g.code)
		}
	}
	for _, limit := range g.limits {
		c := u.counts[limit.key]
		if c == nil {
			continue
		}
		if c.looking--; wrong {
			c.wrong++
		}
		if c.wrong == 0 && c.looking <= 0 {
			delete(u.counts, limit.key)
		}
	}
	return wrong
}

var errTooManyGuesses = NewError("too_many_guesses", "too many wrong codes")

// RateLimitError is a refusal to do anything now, with the time to wait.
type RateLimitError struct {
	Reason     *Error
	RetryAfter time.Duration
}

func (t *RateLimitError) Error() string { return t.Reason.Error() }
func (t *RateLimitError) Unwrap() error { return t.Reason }
