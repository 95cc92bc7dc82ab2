package memstore

import (
	"context"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Gateway is the part of one gateway in a shared store: a
// [deviceauth.Cluster] within one process, for tests of what gateways share,
// and as a simple reference implementation.
type Gateway struct {
	*Store
	shared *shared
}

var _ deviceauth.Cluster = (*Gateway)(nil)

// shared is what the gateways of a store share apart from grants. Its lock is
// never held while a listener runs or a grant is changed.
type shared struct {
	mu        sync.Mutex
	polls     map[deviceauth.ID]*polls
	counts    map[string]deviceauth.Count
	listeners map[*Gateway]func(deviceauth.ID)
}

// polls are the polls of a code: the latest one for each method of client
// authentication, and one interval for all.
type polls struct {
	latest   map[deviceauth.AuthMethod]time.Time
	interval time.Duration
	expires  time.Time
}

// Gateways returns several gateways with one new store. Closing a gateway has
// no effect: the store exists as long as something refers to it.
func Gateways(n int) (all []*Gateway) {
	store, common := New(), &shared{
		polls: map[deviceauth.ID]*polls{}, counts: map[string]deviceauth.Count{},
		listeners: map[*Gateway]func(deviceauth.ID){},
	}
	for range n {
		all = append(all, &Gateway{Store: store, shared: common})
	}
	return all
}

// OnChange implements [deviceauth.Cluster]. The listener is called within the
// Update that makes the change, at any of the gateways, and must not block.
func (g *Gateway) OnChange(listener func(deviceauth.ID)) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	g.shared.listeners[g] = listener
}

// Update implements [deviceauth.Store]. After the change it calls the
// listeners of all gateways, including its own. After an error it calls none.
func (g *Gateway) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if err := g.Store.Update(ctx, id, change); err != nil {
		return err
	}
	g.shared.mu.Lock()
	var listeners []func(deviceauth.ID)
	for _, listener := range g.shared.listeners {
		listeners = append(listeners, listener)
	}
	g.shared.mu.Unlock()
	for _, listener := range listeners { // without the lock: a listener may use the store
		listener(id)
	}
	return nil
}

// RecordPoll implements [deviceauth.Cluster]. All gateways have the same clock
// here, and the lock makes reading and recording atomic.
func (g *Gateway) RecordPoll(_ context.Context, p deviceauth.Poll) (deviceauth.PollRecord, error) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	now := time.Now()
	known := g.shared.polls[p.Grant]
	if known == nil {
		g.shared.forgetPolls(now)
		known = &polls{latest: map[deviceauth.AuthMethod]time.Time{}, interval: p.Interval, expires: p.Expires}
		g.shared.polls[p.Grant] = known
	}
	last, polled := known.latest[p.Method]
	known.latest[p.Method] = now
	// The interval before this poll: whether it grows is decided by the
	// caller.
	record := deviceauth.PollRecord{Polled: polled, Interval: known.interval}
	if polled {
		record.Since = now.Sub(last)
	}
	return record, nil
}

// forgetPolls removes the polls of codes that have expired. It is called when
// a code is polled for the first time.
func (s *shared) forgetPolls(now time.Time) {
	for id, known := range s.polls {
		if !now.Before(known.expires) {
			delete(s.polls, id)
		}
	}
}

// SetInterval implements [deviceauth.Cluster]. It compares and sets under the
// lock, like a server in one command.
func (g *Gateway) SetInterval(_ context.Context, id deviceauth.ID, from, to time.Duration) (time.Duration, error) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	known := g.shared.polls[id]
	if known == nil {
		return from, nil
	}
	was := known.interval
	if was == from {
		known.interval = to
	}
	return was, nil
}

// CountUp implements [deviceauth.Cluster]. An expired counter is dropped only
// when its key is counted again: tests have few keys.
func (g *Gateway) CountUp(_ context.Context, key string, window time.Duration) (deviceauth.Count, error) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	count := g.shared.counts[key]
	if !time.Now().Before(count.Ends) {
		count = deviceauth.Count{Ends: time.Now().Add(window)}
	}
	count.N++
	g.shared.counts[key] = count
	return count, nil
}

// CountDown implements [deviceauth.Cluster]. It removes a counter that reaches
// zero, so that the next event opens a new window.
func (g *Gateway) CountDown(_ context.Context, key string) error {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	if count := g.shared.counts[key]; count.N > 1 {
		count.N--
		g.shared.counts[key] = count
	} else {
		delete(g.shared.counts, key)
	}
	return nil
}

// Counts returns the number of counters, including expired ones. With it a
// test checks whether all events were taken back.
func (g *Gateway) Counts() int {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	return len(g.shared.counts)
}
