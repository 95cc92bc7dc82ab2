package deviceauth

import (
	"context"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// PollState is what only memory knows: who waits for an answer, how often each
// device asks, how many wait, and who typed wrong codes. Nothing of it is worth
// a write to a disk: a device that is told "pending" once more has lost nothing.
// Where gateways share a store, how often a device asks is there, see [Cluster].
//
// It outlives an engine, so that a reload of the configuration forgets no pace
// and a decision wakes the polls that the engine before still holds.
type PollState struct {
	mu    sync.Mutex
	codes map[ID]*codeRecord
	held  int

	shared      Cluster // nil: this gateway is the only one
	userCodes   userCodeLimiter
	masks       maskHistory
	pending     pendingTable
	undelivered undeliveredTokens
}

// codeRecord is a pending code's entry.
type codeRecord struct {
	interval time.Duration              // as grown by early polls
	arrived  [AuthPost + 1]time.Time    // the last poll, apart for each way of client authentication
	expires  time.Time                  // of the code; the entry is rubbish from then on
	waiting  map[chan struct{}]struct{} // held polls
}

// The bounds of memory and time.
const (
	maxInterval = 60 * time.Second // growth of a code's interval stops here
	slowDown    = 5 * time.Second  // RFC 8628 §3.5
	maxHeld     = 10_000           // polls held at a time, some 20 KiB each; the rest are answered at once
	maxCodes    = 200_000          // codes whose pace is remembered
)

// NewPollState returns an empty PollState.
func NewPollState() *PollState {
	return &PollState{
		codes: map[ID]*codeRecord{}, userCodes: userCodeLimiter{counts: map[string]*userCodeCount{}},
		masks: maskHistory{masks: map[Mask]*maskUse{}}, pending: newPendingTable(),
	}
}

// Counts returns how many codes wait for an answer and how many polls are
// held, as far as this process knows.
func (s *PollState) Counts() (pending, held int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pending.count(time.Now()), s.held
}

// pace is what a pending poll is to be told.
type pace struct {
	early    bool
	interval time.Duration // as it is from now on
}

// recordPoll records a poll of a pending code, here or where gateways share it. While the
// shared store fails, a poll has the benefit of the doubt; that the store is away is told
// elsewhere. The loop ends, because an interval only grows, up to maxInterval.
func (s *PollState) recordPoll(ctx context.Context, g *Grant, m AuthMethod, now time.Time,
	interval time.Duration) pace {
	if s.shared == nil {
		return s.recordPollHere(g, m, now, interval)
	}
	poll := Poll{Grant: g.ID, Method: m, Interval: interval, Expires: g.Expires}
	before, err := s.shared.RecordPoll(ctx, poll)
	if err != nil {
		return pace{interval: interval}
	}
	p := before.pace(s.holds(g.ID))
	for from := before.Interval; from != p.interval; {
		was, err := s.shared.SetInterval(ctx, g.ID, from, p.interval)
		if err != nil {
			return pace{interval: interval}
		}
		if was <= from { // it has been set, or the code is no longer known there
			break
		}
		from, p.interval = was, slowedDown(was) // another gateway was faster
	}
	return p
}

// pace is the rule of RFC 8628 §3.5: what a poll is told, by what is known of those
// before. held says that another poll of the code is held at this gateway, so that this
// one is early whatever the clock says. The first poll is never early otherwise, and early
// by less than a fifth is not early: networks are faster and slower from poll to poll.
func (r PollRecord) pace(held bool) pace {
	if held || r.Polled && r.Since < r.Interval*4/5 {
		return pace{early: true, interval: slowedDown(r.Interval)}
	}
	return pace{interval: r.Interval}
}

// slowedDown is the interval after one early poll more.
func slowedDown(interval time.Duration) time.Duration { return min(interval+slowDown, maxInterval) }

func (s *PollState) holds(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c, ok := s.codes[id]
	return ok && len(c.waiting) > 0
}

func (s *PollState) recordPollHere(g *Grant, m AuthMethod, now time.Time, interval time.Duration) pace {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.entry(g, now, interval)
	last := c.arrived[m]
	p := PollRecord{Polled: !last.IsZero(), Since: now.Sub(last), Interval: c.interval}.pace(len(c.waiting) > 0)
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

// sweep makes room before an entry is added; at the bound something goes whatever it
// is. What is lost then is a pace, and its device is told "pending" a little early.
func (s *PollState) sweep(now time.Time) {
	sweep.AFew(s.codes, func(_ ID, c *codeRecord) bool {
		return len(c.waiting) == 0 && (!now.Before(c.expires) || len(s.codes) >= maxCodes)
	})
}

// hold registers a poll that waits for the grant. Where there is no room, ok
// is false. Release it in any case.
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

// wake answers all polls held for the grant.
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

// forget drops the pace of a code that has come to its end.
func (s *PollState) forget(id ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.codes[id]; ok && len(c.waiting) == 0 {
		delete(s.codes, id)
	}
}
