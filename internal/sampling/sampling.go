// Package sampling thins out what strangers can have written to a log without
// end: of each kind a few lines are written as they come, and the rest is
// counted and told in one line now and then. It decides what is written and
// writes nothing; package caddymodule asks it for the audit log, package endpoint
// for its own.
package sampling

import (
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// The measure of every log.
const (
	tell = time.Minute // after the first that was counted, the number is told
	most = 10_000      // kinds that are told apart
)

// measure is how much is written of a kind.
type measure struct {
	burst time.Duration // lines at once, as the time that they take up
	pace  time.Duration // from then on, between two
}

var (
	ofStrangers = measure{burst: 10 * time.Second, pace: time.Second}
	ofOutages   = measure{burst: tell, pace: tell} // one, and then what is counted
)

// A Sampler counts by kind. Kinds may come from outside: where there are too
// many at a time, those that are new share the zero kind.
type Sampler[K comparable] struct {
	measure
	more func(kind K, n int) // is told how many were not written

	mu     sync.Mutex
	kinds  map[K]*count
	closed bool
}

// count is what is known of a kind.
type count struct {
	full time.Time // when it may have a whole burst again
	more int       // not written, and not told yet
	tell *time.Timer
}

// New returns a sampler. more is called while no lock is held, at most once a
// minute for each kind.
func New[K comparable](more func(kind K, n int)) *Sampler[K] {
	return &Sampler[K]{measure: ofStrangers, more: more, kinds: map[K]*count{}}
}

// Outages returns a sampler for what fails at every request while something is
// away: one line as it begins, and then one a minute, the number of the rest.
func Outages[K comparable](more func(kind K, n int)) *Sampler[K] {
	s := New(more)
	s.measure = ofOutages
	return s
}

// Pass reports whether a line of a kind is to be written, and counts it where
// it is not.
func (s *Sampler[K]) Pass(kind K) bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return true // what is still under way is no flood
	}
	kind, c := s.count(kind, now)
	if now.After(c.full) {
		c.full = now
	}
	counting := s.measure == ofOutages && c.tell != nil // its line of this minute is to come
	if c.full.Sub(now) <= s.burst-s.pace && !counting {
		c.full = c.full.Add(s.pace)
		return true
	}
	c.more++
	if c.tell == nil {
		c.tell = time.AfterFunc(tell, func() { s.report(kind) })
	}
	return false
}

// count finds or makes the count of a kind, and sweeps a few that say nothing
// any more.
func (s *Sampler[K]) count(kind K, now time.Time) (K, *count) {
	if c := s.kinds[kind]; c != nil {
		return kind, c
	}
	sweep.AFew(s.kinds, func(_ K, c *count) bool { return c.more == 0 && !now.Before(c.full) })
	if len(s.kinds) >= most {
		var rest K
		kind = rest
	}
	if s.kinds[kind] == nil {
		s.kinds[kind] = new(count)
	}
	return kind, s.kinds[kind]
}

// report tells how many of a kind were not written.
func (s *Sampler[K]) report(kind K) {
	s.mu.Lock()
	n := 0
	if c := s.kinds[kind]; c != nil {
		n, c.more, c.tell = c.more, 0, nil
		if s.measure == ofOutages { // this is the line of the next minute
			c.full = time.Now().Add(s.pace)
		}
	}
	s.mu.Unlock()
	if n > 0 {
		s.more(kind, n)
	}
}

// Close tells all that is counted. From then on every line passes.
func (s *Sampler[K]) Close() {
	s.mu.Lock()
	s.closed = true
	var kinds []K
	for kind, c := range s.kinds {
		if c.tell != nil {
			c.tell.Stop()
			kinds = append(kinds, kind)
		}
	}
	s.mu.Unlock()
	for _, kind := range kinds {
		s.report(kind)
	}
}
