package deviceauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math"
	"net/netip"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/limit"
)

// Wrong user codes are limited, so that the 34 bits of a code cannot be found by brute
// force (RFC 8628 §5.1). Many people may share an address, as in an office or a mobile
// network, and all share the total, so these two limits apply only to people who have
// entered a wrong code themselves, up to a hard limit.
//
// The hard limit also bounds the memory: each wrong code creates at most three counters,
// which expire after ten minutes, so there are never more than 99,000.

const (
	guessWindow      = 10 * time.Minute
	guessesBrowser   = 5     // of one session of a browser, at one address
	guessesPerson    = 10    // of one person, with any browser
	guessesAddress   = 50    // of people who enter wrong codes, at one address
	guessesTotal     = 600   // a minute, of people who enter wrong codes
	guessesTotalHard = 3_000 // a minute, of everyone
)

// guess returns the attempt of a person who enters a code, with its limits. Without a
// browser's session, as in a Go program with its own pages, the person takes its place.
// The attempt has a digest of the code, since a wrong code may differ from a right one by
// only a letter.
func (r InspectRequest) guess(code UserCode) limit.Attempt {
	session, address := "of "+r.Person.Subject, neighbourhood(r.From)
	if r.Browser != "" {
		session = r.Browser
	}
	sum := sha256.Sum256([]byte(r.Person.Subject + "\x00" + string(code)))
	return limit.Attempt{What: [16]byte(sum[:16]), Limits: []limit.Limit{
		{Key: "person " + r.Person.Subject, Window: guessWindow, Most: guessesPerson, Hard: guessesPerson},
		{Key: "browser " + session + " " + address, Window: guessWindow, Most: guessesBrowser, Hard: guessesBrowser},
		{Key: "address " + address, Window: guessWindow, Most: guessesAddress, Hard: math.MaxInt},
		{Key: "all", Window: time.Minute, Most: guessesTotal, Hard: guessesTotalHard},
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
func (s *PollState) beginGuess(ctx context.Context, g limit.Attempt, now time.Time) time.Duration {
	for waits := 0; ; waits++ {
		wait, busy := s.userCodes.Begin(g, now)
		if wait == 0 {
			if wait = s.countTogether(ctx, g, now); wait == 0 {
				return 0
			}
			s.userCodes.End(g, false)
			busy = waits < maxSharedWaits // the store does not tell which guesses are being looked up
		}
		if !busy || waits == maxGuessWaits {
			return wait
		}
		select {
		case <-time.After(guessWait):
		case <-ctx.Done():
			return wait
		}
	}
}

// A lookup takes milliseconds. Another guess waits for it at most maxGuessWaits
// times, for guessWait each time. Shared counters do not distinguish lookups from
// wrong codes, and each attempt costs several commands, so with them it waits at
// most maxSharedWaits times.
const (
	maxGuessWaits  = 20
	maxSharedWaits = 2
	guessWait      = 10 * time.Millisecond
)

// afterwards returns a context for work that must be completed after a request even
// if the client has disconnected.
func afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), afterwardsWait)
}

const afterwardsWait = 5 * time.Second

// countTogether counts a guess in the store that gateways share.
func (s *PollState) countTogether(ctx context.Context, g limit.Attempt, now time.Time) (wait time.Duration) {
	if s.shared == nil {
		return 0
	}
	wrongBefore := false
	for i, one := range g.Limits {
		count, err := s.shared.CountUp(ctx, one.Key, one.Window)
		if err != nil {
			continue
		}
		if i == 0 {
			wrongBefore = count.N > 1
		}
		if one.Stops(count.N-1, wrongBefore) {
			s.countDown(ctx, g.Limits[:i+1])
			return max(count.Ends.Sub(now), time.Second)
		}
	}
	return 0
}

func (s *PollState) countDown(ctx context.Context, limits []limit.Limit) {
	ctx, cancel := afterwards(ctx)
	defer cancel()
	for _, one := range limits {
		s.shared.CountDown(ctx, one.Key)
	}
}

// endGuess ends a guess. A wrong one remains counted, unless the person has already
// entered the same code: the form was submitted twice, or the page was reloaded. For
// a right one the count is taken back, even if the browser has disconnected
// meanwhile.
func (s *PollState) endGuess(ctx context.Context, g limit.Attempt, wrong bool) {
	counted := s.userCodes.End(g, wrong)
	if s.shared == nil {
		return
	}
	ctx, cancel := afterwards(ctx)
	defer cancel()
	if counted {
		before, err := s.shared.CountUp(ctx, g.Limits[0].Key+" "+hex.EncodeToString(g.What[:]), guessWindow)
		counted = err != nil || before.N == 1
	}
	if !counted {
		s.countDown(ctx, g.Limits)
	}
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
