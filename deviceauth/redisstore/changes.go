package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

// changes caches grants in memory while the store receives all change messages. It
// publishes heartbeats to itself on the same channel and uses the cache only while
// they come back: maxHeartbeatAge after the last heartbeat that was received, grants
// are read from the server again. A revocation by another gateway must take effect
// here within a second, so a cached grant is never trusted for longer than that.
type changes struct {
	redis   redis.UniversalClient
	channel string
	sender  string // of our own heartbeats, to distinguish them from other gateways'
	log     *slog.Logger

	mu         sync.Mutex
	returnedAt map[string]time.Time // by server: when its latest heartbeat that came back was sent
	cached     *generations.Memory[deviceauth.ID, *deviceauth.Grant]
	compactor  deviceauth.Compactor
	fetches    map[deviceauth.ID]*fetch
	listener   func(deviceauth.ID)

	away  *atomic.Pointer[error] // set while the server is silent, see deadlines
	began time.Time
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// maxHeartbeatAge allows for some lost heartbeats and still stays below the promised
// second.
const (
	maxHeartbeatAge = 800 * time.Millisecond // a revocation takes effect in less than a second, whatever fails
	heartbeat       = 200 * time.Millisecond
	generation      = 8192 // entries of one cache generation; two are kept, with 1 or 2 KiB a grant
)

// subscribe starts two goroutines, which run until close is called: one subscribes to the
// channel and receives messages, the other sends heartbeats.
func subscribe(client redis.UniversalClient, channel string, away *atomic.Pointer[error], log *slog.Logger) *changes {
	ctx, stop := context.WithCancel(context.Background())
	c := &changes{redis: client, channel: channel, sender: rand.Text(), log: log, listener: func(deviceauth.ID) {},
		away: away, began: time.Now(), stop: stop}
	c.forgetAll()
	c.ended.Go(func() { c.receive(ctx) })
	c.ended.Go(func() { c.sendHeartbeats(ctx) })
	return c
}

func (c *changes) close() {
	c.stop()
	c.ended.Wait()
}

// message returns the message that a grant has changed. It is the id alone, so that
// nothing about a person is on the channel.
func message(g *deviceauth.Grant) string { return g.ID.String() }

// handle handles one message. A message that is neither one of our own heartbeats nor
// an id is ignored: it is another gateway's heartbeat, or comes from another program.
func (c *changes) handle(text string) {
	if own, ok := strings.CutPrefix(text, c.sender+" "); ok {
		since, at, _ := strings.Cut(own, " ")
		if published, err := strconv.ParseInt(since, 10, 64); err == nil {
			c.heartbeatReturned(at, c.began.Add(time.Duration(published)))
		}
		return
	}
	if id, err := deviceauth.ParseID(text); err == nil {
		c.grantChanged(id)
	}
}

// sendHeartbeats publishes a heartbeat at every tick, and logs when Redis becomes
// unreachable or reachable again.
func (c *changes) sendHeartbeats(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	_, isCluster := c.redis.(*redis.ClusterClient)
	for failed, timedOut := false, false; ; {
		err := c.sendHeartbeat(context.WithValue(ctx, probing{}, true))
		if ctx.Err() != nil {
			return
		}
		// Twice in a row, because one connection may have hung alone. In a Cluster the other
		// masters still respond.
		if isTimeout(err) && timedOut && !isCluster {
			c.away.Store(&err)
		} else {
			c.away.Store(nil)
		}
		timedOut = isTimeout(err)
		switch {
		case err != nil && !failed && !isUnavailable(err):
			c.log.Error("redis refuses to publish changes to other gateways, and grants are read for each request",
				"error", err)
		case err != nil && !failed:
			c.log.Error("redis has gone away; what needs it is answered 503", "error", err)
		case err == nil && failed:
			c.log.Info("redis is back")
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// isTimeout reports whether an error means that the server did not respond in time.
func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// sendHeartbeat publishes a heartbeat at every server that can publish changes: in a
// Cluster, all masters.
func (c *changes) sendHeartbeat(ctx context.Context) error {
	cluster, ok := c.redis.(*redis.ClusterClient)
	if !ok {
		c.expectFrom("")
		return c.sendHeartbeatTo(ctx, c.redis, "")
	}
	var mu sync.Mutex
	var masters []string
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		at := master.Options().Addr
		mu.Lock()
		masters = append(masters, at)
		mu.Unlock()
		return c.sendHeartbeatTo(ctx, master, at)
	})
	c.expectFrom(masters...)
	return err
}

// sendHeartbeatTo publishes a heartbeat at one server. Its text is the sender, the
// nanoseconds since began and the server's address.
func (c *changes) sendHeartbeatTo(ctx context.Context, server redis.Cmdable, at string) error {
	return server.Publish(ctx, c.channel, c.sender+" "+strconv.FormatInt(int64(time.Since(c.began)), 10)+" "+at).Err()
}

// expectFrom sets the servers whose heartbeats must come back. Servers that left the
// Cluster are dropped. A new server has no heartbeat yet, so the cache is not used
// until its first one has come back.
func (c *changes) expectFrom(servers ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	returned := map[string]time.Time{}
	for _, at := range servers {
		returned[at] = c.returnedAt[at]
	}
	c.returnedAt = returned
}

// heartbeatReturned records that a heartbeat of a server came back. Messages in a
// Cluster may overtake each other, so only a heartbeat that was sent later than the
// recorded one counts.
func (c *changes) heartbeatReturned(at string, sent time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sent.After(c.returnedAt[at]) {
		c.returnedAt[at] = sent
	}
}

// isCurrent reports whether every server has a heartbeat that came back and is
// younger than maxHeartbeatAge. The caller holds mu.
func (c *changes) isCurrent(now time.Time) bool {
	for _, returned := range c.returnedAt {
		if !now.Before(returned.Add(maxHeartbeatAge)) {
			return false
		}
	}
	return len(c.returnedAt) > 0
}

// grantChanged drops a grant that has changed from the cache, and wakes the polls
// that are held for it.
func (c *changes) grantChanged(id deviceauth.ID) {
	c.forget(id)
	c.mu.Lock()
	listener := c.listener
	c.mu.Unlock()
	listener(id)
}

// forget drops a grant from the cache. A fetch of the grant that is under way is
// unregistered, too: what it read may be older than the change.
func (c *changes) forget(id deviceauth.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cached.Delete(id)
	delete(c.fetches, id)
}

// forgetAll empties the cache. It is called at the start and whenever the
// subscription was renewed.
func (c *changes) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returnedAt = map[string]time.Time{}
	c.cached, c.fetches = generations.New[deviceauth.ID, *deviceauth.Grant](generation), map[deviceauth.ID]*fetch{}
}

// A fetch is a grant being read from the server. The grant is cached only if the
// fetch is still registered in changes.fetches when it ends, that is, if no change
// message for the grant arrived meanwhile.
type fetch struct {
	c       *changes
	id      deviceauth.ID
	readers int
}

// get returns the caller's own copy of a cached grant. Where none can be used, it
// returns nil and a fetch, whose end method must be called.
func (c *changes) get(id deviceauth.ID) (*deviceauth.Grant, *fetch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &fetch{c: c, id: id}
	if !c.isCurrent(time.Now()) {
		return nil, f // not registered, so its grant is not cached
	}
	if g, found, _ := c.cached.Get(id); found && time.Now().Before(g.KeepUntil()) {
		own := *g
		return &own, nil
	}
	if noted := c.fetches[id]; noted != nil {
		f = noted
	}
	c.fetches[id] = f
	f.readers++
	return nil, f
}

// keep caches the grant that was read. It caches a copy, because the caller may
// modify its own.
func (f *fetch) keep(g *deviceauth.Grant) {
	kept := f.c.compactor.Compact(g)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.c.fetches[f.id] != f {
		return
	}
	f.c.cached.Put(f.id, kept)
}

// end removes a reader from the fetch. Several readers of one grant share a fetch;
// the last one unregisters it.
func (f *fetch) end() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.readers--; f.readers <= 0 && f.c.fetches[f.id] == f {
		delete(f.c.fetches, f.id)
	}
}

// OnChange implements [deviceauth.Cluster]. The listener runs in the goroutine that
// receives messages, and must not block. It is also called for changes made through
// this store.
func (s *Store) OnChange(listener func(deviceauth.ID)) {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	s.changes.listener = listener
}
