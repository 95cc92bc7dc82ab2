package generations

import "sync"

// A Shared is a [Memory] that many goroutines use at once, for values that are made once
// and not changed: what was found out about a token, by its digest.
type Shared[K comparable, V any] struct {
	mu     sync.RWMutex
	memory *Memory[K, V]
}

// NewShared returns a memory of so many entries in each generation.
func NewShared[K comparable, V any](size int) *Shared[K, V] {
	return &Shared[K, V]{memory: New[K, V](size)}
}

// Get returns an entry, and puts it in again where it ages, so that what is used stays.
func (s *Shared[K, V]) Get(key K) (value V, found bool) {
	s.mu.RLock()
	value, found, ages := s.memory.Get(key)
	s.mu.RUnlock()
	if ages {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.memory.Put(key, value)
	}
	return value, found
}

// Add adds an entry and returns it, or the one that another goroutine has added
// meanwhile: all then go on with the same.
func (s *Shared[K, V]) Add(key K, value V) V {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, found, _ := s.memory.Get(key); found {
		return known
	}
	s.memory.Put(key, value)
	return value
}
