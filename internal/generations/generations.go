// Package generations bounds a memory. It does not decide what is remembered or
// for how long it is true, and has no lock: its callers have one that guards
// more than this.
package generations

// A Memory has room for a number of entries, twice: when the young ones are so
// many they become the old ones, and what was not put in again since then is
// forgotten. That is as good as the order of last use, and costs nothing.
type Memory[K comparable, V any] struct {
	young, old map[K]V
	size       int
}

// New returns a memory of so many entries in each generation.
func New[K comparable, V any](size int) *Memory[K, V] {
	return &Memory[K, V]{young: map[K]V{}, size: size}
}

// Get changes nothing, so that readers may share a lock. An entry that ages is
// forgotten before long, unless it is put in again.
func (m *Memory[K, V]) Get(key K) (value V, found, ages bool) {
	if value, found = m.young[key]; found {
		return value, true, false
	}
	value, found = m.old[key]
	return value, found, found
}

// Put remembers an entry, in place of one of the same key.
func (m *Memory[K, V]) Put(key K, value V) {
	if _, known := m.young[key]; !known && len(m.young) >= m.size {
		m.old, m.young = m.young, make(map[K]V, m.size)
	}
	m.young[key] = value
	delete(m.old, key)
}

// Delete forgets an entry.
func (m *Memory[K, V]) Delete(key K) {
	delete(m.young, key)
	delete(m.old, key)
}
