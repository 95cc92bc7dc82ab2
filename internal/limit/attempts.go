package limit

import (
	"slices"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// Attempts counts wrong attempts, such as guesses of a secret. A limit must not lock out
// people who share something with an attacker: many share an address, and all share the
// total. Therefore a [Limit] has two numbers, of which the lower one applies only to those
// whose own attempts were wrong before, up to the hard one that is beyond any ordinary use.
// A right attempt does not reset a counter, since an attacker may have the right answer to
// another question.
//
// Hard limits also bound the memory, where each attempt has one: a counter expires with its window, and one that is
// still in use is never dropped to make room. It is safe for concurrent use.
type Attempts struct {
	mu     sync.Mutex
	counts map[string]*count
}

// NewAttempts returns an Attempts without counters.
func NewAttempts() *Attempts { return &Attempts{counts: map[string]*count{}} }

// A Limit is a number of wrong attempts for a key within a time window, which begins with
// the first attempt.
type Limit struct {
	Key    string
	Window time.Duration
	Most   int // for those with a wrong attempt under the first limit of their [Attempt]
	Hard   int // for everyone
}

// Stops reports whether so many wrong attempts are too many.
func (l Limit) Stops(count int, wrongBefore bool) bool {
	if wrongBefore {
		return count >= l.Most
	}
	return count >= l.Hard
}

// An Attempt is one attempt, with the limits that apply to it.
type Attempt struct {
	What   [16]byte // the same wrong attempt counts once in a window
	Limits []Limit  // the first one is that of the one who tries
}

// A count is the counter of a limit.
type count struct {
	wrong   int
	looking int // attempts whose result is not known yet, and may be right
	ends    time.Time
	tried   [][16]byte // of a first limit: the wrong attempts in this window
}

// Begin counts an attempt before its result is known, so that simultaneous attempts cannot
// exceed the limits, or returns how long to wait. busy reports whether the wait may end
// earlier because the results of other attempts are not known yet.
func (a *Attempts) Begin(one Attempt, now time.Time) (wait time.Duration, busy bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	busy = true
	wrongBefore := false
	for i, limit := range one.Limits {
		c := a.counts[limit.Key]
		if c == nil || !now.Before(c.ends) {
			continue
		}
		if i == 0 {
			wrongBefore = c.wrong > 0
		}
		if limit.Stops(c.wrong+c.looking, wrongBefore) {
			wait = max(wait, c.ends.Sub(now))
			busy = busy && !limit.Stops(c.wrong, wrongBefore)
		}
	}
	if wait > 0 {
		return wait, busy
	}
	for _, limit := range one.Limits {
		a.count(limit, now).looking++
	}
	return 0, false
}

// count returns the counter of a limit, in a window that has not ended.
func (a *Attempts) count(limit Limit, now time.Time) *count {
	c := a.counts[limit.Key]
	if c == nil {
		sweep.AFew(a.counts, func(_ string, c *count) bool { return c.looking == 0 && !now.Before(c.ends) })
		c = new(count)
		a.counts[limit.Key] = c
	}
	if !now.Before(c.ends) {
		c.wrong, c.tried, c.ends = 0, nil, now.Add(limit.Window)
	}
	return c
}

// End ends an attempt, and reports whether it remains counted: it was wrong, and not the
// same as an earlier one.
func (a *Attempts) End(one Attempt, wrong bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if own := a.counts[one.Limits[0].Key]; wrong && own != nil {
		if wrong = !slices.Contains(own.tried, one.What); wrong {
			own.tried = append(own.tried, one.What)
		}
	}
	for _, limit := range one.Limits {
		c := a.counts[limit.Key]
		if c == nil {
			continue
		}
		if c.looking--; wrong {
			c.wrong++
		}
		if c.wrong == 0 && c.looking <= 0 {
			delete(a.counts, limit.Key)
		}
	}
	return wrong
}

// Len returns the number of counters.
func (a *Attempts) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.counts)
}
