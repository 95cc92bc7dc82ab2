package redisstore

import (
	"context"
	"crypto/rand"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

// changes keeps grants in memory for as long as it hears of every change. It
// sends heartbeats to itself over the same channel, and uses what it keeps only
// while they come back: after fresh without one, grants are read from the server.
// A revocation by another gateway has to count here within a second. So a grant
// in memory is believed for fresh at most after the last message that went the
// whole way round.
type changes struct {
	redis   redis.UniversalClient
	channel string
	sender  string // distinguishes our own messages from others'
	log     *slog.Logger

	mu         sync.Mutex
	returnedAt map[string]time.Time // by server: when the last heartbeat that was returned was sent
	known      *generations.Memory[deviceauth.ID, *deviceauth.Grant]
	compactor  deviceauth.Compactor
	fetches    map[deviceauth.ID]*fetch
	listener   func(deviceauth.ID)

	began time.Time
	stop  context.CancelFunc
	ended sync.WaitGroup
}

// maxHeartbeatAge leaves room for some lost heartbeats below the promised second.
const (
	maxHeartbeatAge = 800 * time.Millisecond // a revocation is heard of in less than a second, whatever breaks
	heartbeat       = 200 * time.Millisecond
	generation      = 8192 // two of them are kept, of 1 or 2 KiB a grant
)

// subscribe subscribes to the channel. Two goroutines run until close: one
// receives, one sends the heartbeat.
func subscribe(client redis.UniversalClient, channel string, log *slog.Logger) *changes {
	ctx, stop := context.WithCancel(context.Background())
	c := &changes{redis: client, channel: channel, sender: rand.Text(), log: log, listener: func(deviceauth.ID) {},
		began: time.Now(), stop: stop}
	c.forgetAll()
	sub := client.Subscribe(ctx, channel)
	messages := sub.ChannelWithSubscriptions()
	c.ended.Go(func() { defer sub.Close(); c.receive(ctx, messages) })
	c.ended.Go(func() { c.sendHeartbeats(ctx) })
	return c
}

func (c *changes) close() {
	c.stop()
	c.ended.Wait()
}

// message says that a grant has changed. It has no content but the id, so
// nothing about a person is on the channel.
func message(g *deviceauth.Grant) string { return g.ID.String() }

// receive takes in what is said, until the context ends.
func (c *changes) receive(ctx context.Context, messages <-chan any) {
	for {
		select {
		case <-ctx.Done():
			return
		case message := <-messages:
			switch m := message.(type) {
			case *redis.Subscription:
				c.forgetAll() // who knows what was said before we listened
			case *redis.Message:
				c.handle(m.Payload)
			}
		}
	}
}

// handle handles one message. Messages that are neither a heartbeat of our own
// nor an id are another gateway's heartbeats, or no messages of ours at all.
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

// sendHeartbeats publishes the time, to receive it again, and logs whether Redis
// could be reached.
func (c *changes) sendHeartbeats(ctx context.Context) {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	for away := false; ; {
		err := c.sendHeartbeat(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !away:
			c.log.Error("redis has gone away; what needs it is answered 503", "error", err)
		case err == nil && away:
			c.log.Info("redis is back")
		}
		away = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// sendHeartbeat publishes at every server that publishes changes: in a Cluster, all masters.
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

// sendHeartbeatTo publishes a heartbeat at one server. The text is: sender,
// the nanoseconds since began, the server's address.
func (c *changes) sendHeartbeatTo(ctx context.Context, server redis.Cmdable, at string) error {
	return server.Publish(ctx, c.channel, c.sender+" "+strconv.FormatInt(int64(time.Since(c.began)), 10)+" "+at).Err()
}

// expectFrom sets from which servers heartbeats must come back. Servers that
// left the Cluster are dropped; a new one counts as not heard of yet, so
// nothing is believed until its first heartbeat has come back.
func (c *changes) expectFrom(servers ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	returned := map[string]time.Time{}
	for _, at := range servers {
		returned[at] = c.returnedAt[at]
	}
	c.returnedAt = returned
}

// heartbeatReturned notes that a server returned a heartbeat.
// Messages of a Cluster may overtake each other, so only a later one counts.
func (c *changes) heartbeatReturned(at string, sent time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if sent.After(c.returnedAt[at]) {
		c.returnedAt[at] = sent
	}
}

// isCurrent reports whether a heartbeat has returned from every server of late.
func (c *changes) isCurrent(now time.Time) bool {
	for _, returned := range c.returnedAt {
		if !now.Before(returned.Add(maxHeartbeatAge)) {
			return false
		}
	}
	return len(c.returnedAt) > 0
}

// grantChanged lets go of a grant that has changed, and wakes its held polls.
func (c *changes) grantChanged(id deviceauth.ID) {
	c.forget(id)
	c.mu.Lock()
	listener := c.listener
	c.mu.Unlock()
	listener(id)
}

// forget drops a grant from memory. A fetch that is running loses its note,
// too: what it read may be older than the change.
func (c *changes) forget(id deviceauth.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known.Delete(id)
	delete(c.fetches, id)
}

// forgetAll is called at the start and whenever the subscription was renewed.
func (c *changes) forgetAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.returnedAt = map[string]time.Time{}
	c.known, c.fetches = generations.New[deviceauth.ID, *deviceauth.Grant](generation), map[deviceauth.ID]*fetch{}
}

// A fetch is a grant being read from the server. What was read is kept
// only if the fetch is still noted at its end: nothing was heard of the grant
// meanwhile.
type fetch struct {
	c       *changes
	id      deviceauth.ID
	readers int
}

// get returns the caller's own copy of a grant that is kept and fresh, or nil
// and a fetch, which must be ended.
func (c *changes) get(id deviceauth.ID) (*deviceauth.Grant, *fetch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := &fetch{c: c, id: id}
	if !c.isCurrent(time.Now()) {
		return nil, f // not noted: nothing of it is kept
	}
	if g, found, _ := c.known.Get(id); found && time.Now().Before(g.KeepUntil()) {
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

// keep puts the grant that was read into memory. A copy is kept, so that the caller may go
// on changing its own.
func (f *fetch) keep(g *deviceauth.Grant) {
	kept := f.c.compactor.Compact(g)
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.c.fetches[f.id] != f {
		return
	}
	f.c.known.Put(f.id, kept)
}

// end takes the reader off the note. Several readers of one grant share the
// note; the last one removes it.
func (f *fetch) end() {
	f.c.mu.Lock()
	defer f.c.mu.Unlock()
	if f.readers--; f.readers <= 0 && f.c.fetches[f.id] == f {
		delete(f.c.fetches, f.id)
	}
}

// OnChange implements [deviceauth.Cluster]. The listener runs in the goroutine
// that receives, and must not block. It is called for changes made through
// this store as well.
func (s *Store) OnChange(listener func(deviceauth.ID)) {
	s.changes.mu.Lock()
	defer s.changes.mu.Unlock()
	s.changes.listener = listener
}
