// Package sampling limits the log lines that clients can cause without end. A few
// lines of each kind are written at once; the rest is counted, and the number is
// reported now and then. The package decides which lines are written but writes none
// itself: package caddymodule uses it for the audit log, package endpoint for its
// own.
package sampling

import (
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// These limits are the same for every log.
const (
	reportAfter = time.Minute // between the first line that was not written and the report
	maxKinds    = 10_000      // distinct kinds
)

// A measure is the rate limit for lines of one kind.
type measure struct {
	burst time.Duration // lines that may be written at once, times pace
	pace  time.Duration // between two lines after that
}

var (
	clientMeasure = measure{burst: 10 * time.Second, pace: time.Second}
	outageMeasure = measure{burst: reportAfter, pace: reportAfter} // one line, and then only reports
)

// A Sampler counts lines by kind. Clients may be able to choose kinds: if there are
// too many at a time, new ones are counted as the zero kind.
type Sampler[K comparable] struct {
	measure
	more func(kind K, n int) // is called with the number of lines that were not written

	mu     sync.Mutex
	kinds  map[K]*count
	closed bool
}

// A count is the state of one kind.
type count struct {
	full  time.Time // when a whole burst is allowed again
	more  int       // lines not written and not reported yet
	timer *time.Timer
}

// New returns a sampler for lines that clients cause. more is called without a lock,
// at maxKinds once a minute for each kind.
func New[K comparable](more func(kind K, n int)) *Sampler[K] {
	return &Sampler[K]{measure: clientMeasure, more: more, kinds: map[K]*count{}}
}

// Outages returns a sampler for faults of every request during an outage: one line
// when it begins, and then a report of the number of the others once a minute.
func Outages[K comparable](more func(kind K, n int)) *Sampler[K] {
	s := New(more)
	s.measure = outageMeasure
	return s
}

// Pass reports whether a line of a kind is to be written, and counts the line if not.
func (s *Sampler[K]) Pass(kind K) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return true // no flood: only requests that are still running
	}
	kind, c := s.count(kind, now)
	if now.After(c.full) {
		c.full = now
	}
	counting := s.measure == outageMeasure && c.timer != nil // this minute's line will be the report
	if c.full.Sub(now) <= s.burst-s.pace && !counting {
		c.full = c.full.Add(s.pace)
		return true
	}
	c.more++
	if c.timer == nil {
		c.timer = time.AfterFunc(reportAfter, func() { s.report(kind) })
	}
	return false
}

// count returns the count of a kind, or a new one. It also removes a few counts that
// are not needed any more.
func (s *Sampler[K]) count(kind K, now time.Time) (K, *count) {
	if c := s.kinds[kind]; c != nil {
		return kind, c
	}
	sweep.AFew(s.kinds, func(_ K, c *count) bool { return c.more == 0 && !now.Before(c.full) })
	if len(s.kinds) >= maxKinds {
		var rest K
		kind = rest
	}
	if s.kinds[kind] == nil {
		s.kinds[kind] = new(count)
	}
	return kind, s.kinds[kind]
}

// report calls more with the number of lines of a kind that were not written.
func (s *Sampler[K]) report(kind K) {
	s.mu.Lock()
	n := 0
	if c := s.kinds[kind]; c != nil {
		n, c.more, c.timer = c.more, 0, nil
		if s.measure == outageMeasure { // the report counts as the line of the next minute
			c.full = time.Now().Add(s.pace)
		}
	}
	s.mu.Unlock()
	if n > 0 {
		s.more(kind, n)
	}
}

// Close reports all counts at once. Afterwards every line passes.
func (s *Sampler[K]) Close() {
	s.mu.Lock()
	s.closed = true
	var kinds []K
	for kind, c := range s.kinds {
		if c.timer != nil {
			c.timer.Stop()
			kinds = append(kinds, kind)
		}
	}
	s.mu.Unlock()
	for _, kind := range kinds {
		s.report(kind)
	}
}
