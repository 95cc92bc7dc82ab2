package deviceauth

import (
	"context"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/limit"
	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// PollState is the state beside the grants: held polls, the polling interval of each
// device, the number of pending grants, and wrong user codes. It is in memory, because
// none of it is worth a write to disk: at worst a device receives authorization_pending
// once more. If several gateways share a store, the store has the polling intervals and
// the counts of wrong codes, see [Cluster].
//
// A PollState outlives an engine, so that intervals survive a reload of the
// configuration, and a decision wakes polls that the previous engine still holds.
type PollState struct {
	mu    sync.Mutex
	codes map[ID]*codeRecord
	held  int

	shared      Cluster // nil: this gateway is the only one
	userCodes   *limit.Attempts
	masks       maskHistory
	pending     *limit.Pending
	undelivered undeliveredTokens
}

// codeRecord is the entry of a pending code.
type codeRecord struct {
	interval time.Duration // as increased by early polls
	// The last poll, for each method of client authentication: without the client's
	// secret, a stranger who knows a code must not be able to slow down its device.
	arrived [AuthPost + 1]time.Time
	expires time.Time                  // of the code; the entry can be deleted from then on
	waiting map[chan struct{}]struct{} // held polls
}

// Limits of memory and time.
const (
	maxInterval = 60 * time.Second // an interval does not grow further
	slowDown    = 5 * time.Second  // RFC 8628 §3.5
	maxHeld     = 10_000           // polls held at a time, some 20 KiB each; the rest are answered at once
	maxCodes    = 200_000          // codes whose interval is stored
)

// NewPollState returns an empty PollState.
func NewPollState() *PollState {
	return &PollState{
		codes: map[ID]*codeRecord{}, userCodes: limit.NewAttempts(),
		masks: maskHistory{masks: map[Mask]*maskUse{}}, pending: limit.NewPending(),
	}
}

// Counts returns the numbers of pending codes and held polls in this process.
func (s *PollState) Counts() (pending, held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending.Count(time.Now()), s.held
}

// A pollVerdict says whether a poll was too early (RFC 8628 §3.5).
type pollVerdict struct {
	early    bool
	interval time.Duration // from now on
}

// checkPoll decides whether a poll of a pending code is too early, and records it, in
// memory or in the store that several gateways share. If the shared store fails, the
// poll counts as in time; the fault itself is reported by other requests. The loop
// ends because an interval only grows, up to maxInterval.
func (s *PollState) checkPoll(ctx context.Context, g *Grant, m AuthMethod, now time.Time,
	interval time.Duration) pollVerdict {
	if s.shared == nil {
		return s.checkPollHere(g, m, now, interval)
	}
	poll := Poll{Grant: g.ID, Method: m, Interval: interval, Expires: g.Expires}
	before, err := s.shared.RecordPoll(ctx, poll)
	if err != nil {
		return pollVerdict{interval: interval}
	}
	p := before.check(s.holds(g.ID))
	for from := before.Interval; from != p.interval; {
		was, err := s.shared.SetInterval(ctx, g.ID, from, p.interval)
		if err != nil {
			return pollVerdict{interval: interval}
		}
		if was <= from { // it has been set, or the code is no longer recorded there
			break
		}
		from, p.interval = was, slowedDown(was) // another gateway has raised it first
	}
	return p
}

// check applies RFC 8628 §3.5 to a poll, given the record of earlier ones. held means
// that another poll of the code is being held at this gateway, so that this one is
// early in any case. Otherwise the first poll is never early, and neither is one that
// is early by less than a fifth of the interval, because network latency varies.
func (r PollRecord) check(held bool) pollVerdict {
	if held || r.Polled && r.Since < r.Interval*4/5 {
		return pollVerdict{early: true, interval: slowedDown(r.Interval)}
	}
	return pollVerdict{interval: r.Interval}
}

// slowedDown returns the interval after one more early poll.
func slowedDown(interval time.Duration) time.Duration { return min(interval+slowDown, maxInterval) }

func (s *PollState) holds(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.codes[id]
	return ok && len(c.waiting) > 0
}

func (s *PollState) checkPollHere(g *Grant, m AuthMethod, now time.Time, interval time.Duration) pollVerdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.entry(g, now, interval)
	last := c.arrived[m]
	p := PollRecord{Polled: !last.IsZero(), Since: now.Sub(last), Interval: c.interval}.check(len(c.waiting) > 0)
	c.arrived[m], c.interval = now, p.interval
	return p
}

func (s *PollState) entry(g *Grant, now time.Time, interval time.Duration) *codeRecord {
	if c, ok := s.codes[g.ID]; ok {
		return c
	}
	s.sweep(now)
	c := &codeRecord{interval: interval, expires: g.Expires}
	s.codes[g.ID] = c
	return c
}

// sweep makes room before an entry is added; at the limit it drops entries that are
// still in use. A dropped entry only costs an interval: its device may poll a little
// too early.
func (s *PollState) sweep(now time.Time) {
	sweep.AFew(s.codes, func(_ ID, c *codeRecord) bool {
		return len(c.waiting) == 0 && (!now.Before(c.expires) || len(s.codes) >= maxCodes)
	})
}

// hold registers a held poll of the grant. ok is false if too many polls are held. A
// registered poll must be released.
func (s *PollState) hold(g *Grant, now time.Time, interval time.Duration) (wake chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held >= maxHeld {
		return nil, false
	}
	c := s.entry(g, now, interval)
	if c.waiting == nil {
		c.waiting = map[chan struct{}]struct{}{}
	}
	wake = make(chan struct{}, 1)
	c.waiting[wake] = struct{}{}
	s.held++
	return wake, true
}

func (s *PollState) release(id ID, wake chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	if c, ok := s.codes[id]; ok {
		delete(c.waiting, wake)
	}
}

// wake wakes all held polls of the grant.
func (s *PollState) wake(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.codes[id]; ok {
		for wake := range c.waiting {
			select {
			case wake <- struct{}{}:
			default: // it has been woken already
			}
		}
	}
}

// forget drops the entry of a code that is no longer pending.
func (s *PollState) forget(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.codes[id]; ok && len(c.waiting) == 0 {
		delete(s.codes, id)
	}
}
