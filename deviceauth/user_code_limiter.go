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

// A userCodeLimiter counts wrong user codes, so that the 34 bits of a code cannot be
// found by brute force (RFC 8628 §5.1). A limit must not lock out people who share
// something with the attacker: many people may share an address, as in an office or a
// mobile network, and all share the total. Therefore these two limits apply only to
// people who have entered a wrong code themselves, up to a hard limit that is beyond
// any ordinary use. A right code does not reset a counter, since an attacker may have
// one, too.
//
// The hard limit also bounds the memory: each wrong code creates at most three
// counters, which expire after ten minutes, so there are never more than 99,000. A
// counter that is still in use is never dropped to make room for another one.
type userCodeLimiter struct {
	mu     sync.Mutex
	counts map[string]*userCodeCount
}

// A userCodeCount is a counter with a time window that begins with the first code.
type userCodeCount struct {
	wrong   int
	looking int // codes that are being looked up, and may be right
	ends    time.Time
	codes   []codeDigest // of a person: the wrong codes in this window
}

// A codeDigest identifies a wrong code of a person without storing it, since it may
// differ from a right one by only a letter.
type codeDigest [16]byte

// A guess is a code that a person enters.
type guess struct {
	code   codeDigest
	limits []userCodeLimit // the person's own one is the first
}

// A userCodeLimit is the number of wrong codes for a key within a time window.
type userCodeLimit struct {
	key    string
	window time.Duration
	most   int // for people who entered a wrong code in their own window
	hard   int // for everyone
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
	guessesPerson    = 10    // of one person, with any browser
	guessesAddress   = 50    // of people who enter wrong codes, at one address
	guessesTotal     = 600   // a minute, of people who enter wrong codes
	guessesTotalHard = 3_000 // a minute, of everyone
)

// guess returns the limits for a code that a person enters. Without a browser's
// session, as in a Go program with its own pages, the person takes its place.
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

// neighbourhood returns the addresses that an attacker has at no cost: an IPv4
// address, or an IPv6 /64.
func neighbourhood(addr netip.Addr) string {
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return addr.String()
}

// beginGuess counts a guess before it is looked up, so that simultaneous guesses
// cannot exceed the limits, or returns how long to wait. If a limit is only reached
// because of other guesses that are being looked up, beginGuess waits for their
// results, as they may be right. Gateways that share a store count together; if the
// store fails, each counts alone.
func (s *PollState) beginGuess(ctx context.Context, g guess, now time.Time) time.Duration {
	for turn := 0; ; turn++ {
		wait, busy := s.userCodes.begin(g, now)
		if wait == 0 {
			if wait = s.countTogether(ctx, g, now); wait == 0 {
				return 0
			}
			s.userCodes.end(g, false)
			busy = turn < sharedTurns // the store does not tell which guesses are being looked up
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

// A lookup takes milliseconds; this is how long other guesses wait for it. Shared
// counters do not distinguish lookups from wrong codes, and each turn costs several
// commands, so there are fewer turns for them.
const (
	guessTurns  = 20
	sharedTurns = 2
	guessTurn   = 10 * time.Millisecond
)

// afterwards returns a context for work that must be completed after a request even
// if the client has disconnected.
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

// endGuess ends a guess. A wrong one remains counted, unless the person has already
// entered the same code: the form was submitted twice, or the page was reloaded. For
// a right one the count is taken back, even if the browser has disconnected
// meanwhile.
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

// begin counts a guess that is being looked up, or returns how long to wait. busy
// reports whether the wait may end earlier because other guesses are being looked up.
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

// count returns the counter of a limit, in a window that has not ended.
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

// end ends a guess, and reports whether it remains counted.
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

// A RateLimitError is a refusal with the time after which the request may be
// repeated.
type RateLimitError struct {
	Reason     *Error
	RetryAfter time.Duration
}

func (t *RateLimitError) Error() string { return t.Reason.Error() }
func (t *RateLimitError) Unwrap() error { return t.Reason }
