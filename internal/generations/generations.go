// Package generations implements a cache with a bounded number of entries. It does
// not know how long an entry is valid, and has no lock: the lock of its callers
// guards more than the cache.
package generations

// A Memory is a cache with two generations of entries. When the young generation is
// full, it becomes the old one, and entries that have not been put again since the
// last time are dropped. This is nearly as good as LRU, but costs no bookkeeping.
type Memory[K comparable, V any] struct {
	young, old map[K]V
	size       int
}

// New returns a memory with room for size entries in each generation.
func New[K comparable, V any](size int) *Memory[K, V] {
	return &Memory[K, V]{young: map[K]V{}, size: size}
}

// Get returns an entry, and reports in ages whether it is in the old generation,
// which will be dropped unless the entry is put again. Get changes nothing, so
// readers may share a lock.
func (m *Memory[K, V]) Get(key K) (value V, found, ages bool) {
	if value, found = m.young[key]; found {
		return value, true, false
	}
	value, found = m.old[key]
	return value, found, found
}

// Put adds an entry, or replaces the one with the same key.
func (m *Memory[K, V]) Put(key K, value V) {
	if _, known := m.young[key]; !known && len(m.young) >= m.size {
		m.old, m.young = m.young, make(map[K]V, m.size)
	}
	m.young[key] = value
	delete(m.old, key)
}

// Delete removes an entry.
func (m *Memory[K, V]) Delete(key K) {
	delete(m.young, key)
	delete(m.old, key)
}
