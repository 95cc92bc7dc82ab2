package deviceauth

import (
	"context"
	"sync"
	"time"
)

// originCache caches the origins of pages that act as a client that registered, for
// the time of [clientKnown]: any page may send a request with any origin, and must
// not cause a read of the store each time.
type originCache struct {
	mu    sync.Mutex
	at    time.Time
	known map[string]bool // by origin: whether the operator vouches for a client with it
}

// find reports whether an origin is that of a registered client. If the store cannot
// be read it uses the cached origins.
func (c *originCache) find(ctx context.Context, e *Engine, origin string) (known, approved bool) {
	if e.cfg.Documents == nil {
		return false, false
	}
	if c.claim(e.now()) {
		if document, err := e.cfg.Documents.LoadDocument(ctx, clientListDocument); err == nil {
			c.learn(document)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	approved, known = c.known[origin]
	return known, approved
}

// claim reports whether this caller must refresh the cache. The other callers do
// not wait for the refresh.
func (c *originCache) claim(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.at); age >= 0 && age < clientKnown {
		return false
	}
	c.at = now
	return true
}

// learn caches the origins of a list of clients. It ignores a list that cannot be
// decoded.
func (c *originCache) learn(document []byte) {
	list, err := readList(document)
	if err != nil {
		return
	}
	known := map[string]bool{}
	for _, client := range list {
		for _, origin := range client.Origins {
			known[origin] = known[origin] || client.Approved
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
}
