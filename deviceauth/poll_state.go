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
//
// It outlives an engine, so that a reload of the configuration forgets no pace
// and a decision wakes the polls that the engine before still holds.
type PollState struct {
	mu    sync.Mutex
	codes map[ID]*pollRecord
	held  int

	shared      Cluster // nil: this gateway is the only one
	userCodes   userCodeLimiter
	masks       maskHistory
	pending     pendingTable
	undelivered undeliveredTokens
}

// pollRecord is a pending code's entry.
type pollRecord struct {
	interval time.Duration              // as grown by early polls
	arrived  [AuthPost + 1]time.Time    // the last poll, apart for each way of client authentication
	expires  time.Time                  // of the code; the entry is rubbish from then on
	waiting  map[chan struct{}]struct{} // held polls
}

// The bounds of memory and patience.
const (
	maxInterval = 60 * time.Second // growth of a code's interval stops here
	slowDown    = 5 * time.Second  // RFC 8628 §3.5
	maxHeld     = 10_000           // polls held at a time, some 20 KiB each; the rest are answered at once
	maxCodes    = 200_000          // codes whose pace is remembered
)

// NewPollState returns an empty PollState.
func NewPollState() *PollState {
	return &PollState{
		codes: map[ID]*pollRecord{}, userCodes: userCodeLimiter{counts: map[string]*userCodeCount{}},
		masks: maskHistory{masks: map[Mask]*maskUse{}}, pending: newPendingTable(),
	}
}

// Counts returns how many codes wait for an answer and how many polls are
// held, as far as this process knows.
func (l *PollState) Counts() (pending, held int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pending.count(time.Now()), l.held
}

// pollPace is what a pending poll is to be told.
type pollPace struct {
	early    bool
	interval time.Duration // as it is from now on
}

// recordPoll records a poll of a pending code, here or where gateways share it.
func (l *PollState) recordPoll(ctx context.Context, g *Grant, m AuthMethod, now time.Time,
	interval time.Duration) pollPace {
	if l.shared == nil {
		return l.recordPollHere(g, m, now, interval)
	}
	poll := Poll{Grant: g.ID, Method: m, Interval: interval, Expires: g.Expires}
	before, err := l.shared.RecordPoll(ctx, poll)
	if err != nil {
		return pollPace{interval: interval} // the benefit of the doubt; that the store is away is told elsewhere
	}
	p := before.pace(l.holds(g.ID))
	for from := before.Interval; from != p.interval; {
		was, err := l.shared.SetInterval(ctx, g.ID, from, p.interval)
		if err != nil || was == from {
			break
		}
		from, p.interval = was, slowedDown(was) // another gateway was faster
	}
	return p
}

// pace is the rule of RFC 8628 §3.5: what a poll is told, by what is known of those
// before. held says that another poll of the code is held, so that this one is early
// whatever the clock says. The first poll is never early otherwise, and early by less
// than a fifth is not early: networks hurry and dawdle.
func (r PollRecord) pace(held bool) pollPace {
	if held || r.Polled && r.Since < r.Interval*4/5 {
		return pollPace{early: true, interval: slowedDown(r.Interval)}
	}
	return pollPace{interval: r.Interval}
}

// slowedDown is the interval after one early poll more.
func slowedDown(interval time.Duration) time.Duration { return min(interval+slowDown, maxInterval) }

func (l *PollState) holds(id ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.codes[id]
	return ok && len(c.waiting) > 0
}

func (l *PollState) recordPollHere(g *Grant, m AuthMethod, now time.Time, interval time.Duration) pollPace {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.entry(g, now, interval)
	last := c.arrived[m]
	p := PollRecord{Polled: !last.IsZero(), Since: now.Sub(last), Interval: c.interval}.pace(len(c.waiting) > 0)
	c.arrived[m], c.interval = now, p.interval
	return p
}

func (l *PollState) entry(g *Grant, now time.Time, interval time.Duration) *pollRecord {
	if c, ok := l.codes[g.ID]; ok {
		return c
	}
	l.sweep(now)
	c := &pollRecord{interval: interval, expires: g.Expires}
	l.codes[g.ID] = c
	return c
}

// sweep makes room before an entry is added; at the bound something goes whatever it
// is. What is lost then is a pace, and its device is told "pending" a little early.
func (l *PollState) sweep(now time.Time) {
	sweep.AFew(l.codes, func(_ ID, c *pollRecord) bool {
		return len(c.waiting) == 0 && (!now.Before(c.expires) || len(l.codes) >= maxCodes)
	})
}

// hold registers a poll that waits for the grant. Where there is no room, ok
// is false. Release it in any case.
func (l *PollState) hold(g *Grant, now time.Time, interval time.Duration) (wake chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held >= maxHeld {
		return nil, false
	}
	c := l.entry(g, now, interval)
	if c.waiting == nil {
		c.waiting = map[chan struct{}]struct{}{}
	}
	wake = make(chan struct{}, 1)
	c.waiting[wake] = struct{}{}
	l.held++
	return wake, true
}

func (l *PollState) release(id ID, wake chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held--
	if c, ok := l.codes[id]; ok {
		delete(c.waiting, wake)
	}
}

// wake answers all polls held for the grant.
func (l *PollState) wake(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.codes[id]; ok {
		for wake := range c.waiting {
			select {
			case wake <- struct{}{}:
			default: // it has been woken already
			}
		}
	}
}

// forget drops the pace of a code that has come to its end.
func (l *PollState) forget(id ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.codes[id]; ok && len(c.waiting) == 0 {
		delete(l.codes, id)
	}
}
