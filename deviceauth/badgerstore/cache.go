package badgerstore

import (
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/generations"
)

// A cache keeps decoded grants, because decoding one takes longer than finding
// it. It may do so because no other process can change the database: it is
// never behind what has been answered. Two rules make that so. A change enters
// it before anybody is told of the change. And what a reader found enters it
// only if nothing has changed since before the reader looked.
//
// A grant that nobody changes leaves it now and then; the next reader puts it
// back. So reading need not change the cache, and readers do not hinder another.
type cache struct {
	mu      sync.RWMutex
	changes uint64 // counts what has changed
	known   *generations.Memory[deviceauth.ID, cached]

	compactor deviceauth.Compactor // has a lock of its own
}

// cached is a decoded grant, which is never changed, and the second in which Badger forgets it.
type cached struct {
	grant   *deviceauth.Grant
	expires uint64
}

// generation bounds the memory: two times so many grants of 1 or 2 KiB.
const generation = 8192

func newCache() *cache { return &cache{known: generations.New[deviceauth.ID, cached](generation)} }

// get returns the caller's own copy of a grant, or nil, and a mark for put.
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

// put keeps what a reader found, unless something has changed since its mark. It returns the
// reader's own copy of what is kept: who stands behind a token is made once for a person, who
// must be the same from now on.
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

// replace takes in changes that are on the disk.
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

// forget drops grants of which nobody knows whether their change was kept.
func (c *cache) forget(changed map[deviceauth.ID]cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	for id := range changed {
		c.known.Delete(id)
	}
}

// clear forgets everything, as the database was opened anew: what was not synced before
// may be gone.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.changes++
	c.known = generations.New[deviceauth.ID, cached](generation)
}
