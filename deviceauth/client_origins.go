package deviceauth

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// originCache remembers the origins of pages that act as a client that registered, for as
// long as [clientKnown]: any page may ask with any origin, and must not have the store
// read for each.
type originCache struct {
	mu    sync.Mutex
	at    time.Time
	known map[string]bool
}

// allows reports whether an origin is one of theirs. Where the store cannot be asked, what
// was known holds.
func (c *originCache) allows(ctx context.Context, e *Engine, origin string) bool {
	if e.cfg.Documents == nil {
		return false
	}
	if c.claim(e.now()) {
		if document, err := e.cfg.Documents.LoadDocument(ctx, clientListDocument); err == nil {
			c.learn(document)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[origin]
}

// claim reports whether it is time to look, and for whom: nobody waits for another's look.
func (c *originCache) claim(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now.Sub(c.at); age >= 0 && age < clientKnown {
		return false
	}
	c.at = now
	return true
}

// learn reads the list of clients. One that cannot be read changes nothing.
func (c *originCache) learn(document []byte) {
	list := clientList{}
	if document != nil && json.Unmarshal(document, &list) != nil {
		return
	}
	known := map[string]bool{}
	for _, client := range list {
		for _, origin := range client.Origins {
			known[origin] = true
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = known
}
