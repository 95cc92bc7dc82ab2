package deviceauth

import (
	"context"
	"sync"
	"time"
)

// originCache remembers the origins of pages that act as a client that registered, for as
// long as [clientKnown]: any page may ask with any origin, and must not have the store
// read for each.
type originCache struct {
	mu    sync.Mutex
	at    time.Time
	known map[string]bool // by origin: whether the operator vouches for a client of it
}

// find reports whether an origin is one of theirs. Where the store cannot be asked, what
// was known holds.
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
