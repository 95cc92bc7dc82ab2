package memstore

import (
	"context"
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Gateway is one gateway's part in a store that several use: a
// [deviceauth.Cluster] within one process, for tests of what gateways share, and as
// the shortest answer to what that is.
type Gateway struct {
	*Store
	shared *shared
}

var _ deviceauth.Cluster = (*Gateway)(nil)

// shared is what the gateways of a store know beside its grants. Its lock is never
// held while a listener runs or a grant is changed.
type shared struct {
	mu        sync.Mutex
	polls     map[deviceauth.ID]*polls
	counts    map[string]deviceauth.Count
	listeners map[*Gateway]func(deviceauth.ID)
}

// polls are those of one code. Each method of client authentication has a latest one of
// its own, and all share the interval.
type polls struct {
	latest   map[deviceauth.AuthMethod]time.Time
	interval time.Duration
	expires  time.Time
}

// Gateways returns some gateways over one new store. Closing one of them closes
// nothing: the store lives as long as something refers to it.
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

// OnChange implements [deviceauth.Cluster]. The listener runs within the Update that it
// is told of, at whichever gateway that is, and must not block.
func (g *Gateway) OnChange(listener func(deviceauth.ID)) {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	g.shared.listeners[g] = listener
}

// Update implements [deviceauth.Store], and tells the listeners of all gateways, this
// one's too, once the change has been made. One that fails is told to none.
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
	for _, listener := range listeners { // without the lock: a listener may ask the store
		listener(id)
	}
	return nil
}

// RecordPoll implements [deviceauth.Cluster]. All gateways have one clock here, and one
// lock makes reading and recording one step.
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
	// The interval is that of before this poll: what it grows to is decided elsewhere.
	record := deviceauth.PollRecord{Polled: polled, Interval: known.interval}
	if polled {
		record.Since = now.Sub(last)
	}
	return record, nil
}

// forgetPolls forgets those of codes that have expired. It looks at all of them whenever
// a code is polled for the first time.
func (s *shared) forgetPolls(now time.Time) {
	for id, known := range s.polls {
		if !now.Before(known.expires) {
			delete(s.polls, id)
		}
	}
}

// SetInterval implements [deviceauth.Cluster]. It compares and sets under the lock, as a
// server does in one command.
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

// CountUp implements [deviceauth.Cluster]. What has ended is forgotten when its key
// is counted again: the keys of a test are few.
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

// CountDown implements [deviceauth.Cluster]. A key that counts nothing is forgotten, so
// that the next count opens a window.
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

// Counts returns how many keys are counted, also of windows that have ended. A test
// learns by it whether all was taken back.
func (g *Gateway) Counts() int {
	g.shared.mu.Lock()
	defer g.shared.mu.Unlock()
	return len(g.shared.counts)
}
