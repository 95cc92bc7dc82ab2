package badgerstore

import (
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

// A cache keeps decoded grants, because decoding one takes longer than finding it. It is
// never older than what has been answered, for no other process can change the database,
// and for two rules: a change enters the cache before its caller is answered, and what a
// reader found enters it only if nothing has changed since before the read.
//
// A grant that is not changed leaves the cache now and then; the next reader puts it back.
// So reading need not change the cache, and readers do not block each other.
type cache struct {
	mu      sync.RWMutex
	changes uint64 // counts changes
	known   *generations.Memory[deviceauth.ID, cached]

	compactor deviceauth.Compactor // has a lock of its own
}

// cached is a decoded grant, which is never changed, and the second in which Badger forgets
// it.
type cached struct {
	grant   *deviceauth.Grant
	expires uint64
}

// generation bounds the memory: the cache holds at most twice as many grants, of 1 or 2 KiB
// each.
const generation = 8192

func newCache() *cache { return &cache{known: generations.New[deviceauth.ID, cached](generation)} }

// get returns the caller's own copy of a grant, or nil, and the changes count for put.
func (c *cache) get(id deviceauth.ID) (g *deviceauth.Grant, changesSeen uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	item, found, _ := c.known.Get(id)
	if !found || uint64(time.Now().Unix()) >= item.expires {
		return nil, c.changes
	}
	own := *item.grant
	return &own, c.changes
}

// put stores what a reader found, unless something has changed since changesSeen. It
// returns the reader's own copy of what is stored, with the stored Person: a guard builds
// the identity behind a token once per Person pointer, so later reads must return the same
// one.
func (c *cache) put(g *deviceauth.Grant, expires, changesSeen uint64) *deviceauth.Grant {
	kept := c.compactor.Compact(g)
	own := *kept
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changes == changesSeen {
		c.known.Put(own.ID, cached{grant: kept, expires: expires})
	}
	return &own
}

// replace stores changes that are on the disk.
func (c *cache) replace(changed map[deviceauth.ID]cached) {
	kept := make(map[deviceauth.ID]cached, len(changed))
	for id, item := range changed {
		kept[id] = cached{grant: c.compactor.Compact(item.grant), expires: item.expires}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for id, item := range kept {
		c.known.Put(id, item)
	}
}

// forget removes grants of which it is unknown whether their change was committed.
func (c *cache) forget(changed map[deviceauth.ID]cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for id := range changed {
		c.known.Delete(id)
	}
}

// clear removes everything. It is called when the database was reopened: what was not
// synced before may be gone.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.known = generations.New[deviceauth.ID, cached](generation)
}
