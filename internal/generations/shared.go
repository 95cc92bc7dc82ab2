package generations

import "sync"

// A Shared is a [Memory] for concurrent use. Its values must not change after they
// were added, such as the result of verifying a token under the token's digest.
type Shared[K comparable, V any] struct {
	mu     sync.RWMutex
	memory *Memory[K, V]
}

// NewShared returns a memory with room for size entries in each generation.
func NewShared[K comparable, V any](size int) *Shared[K, V] {
	return &Shared[K, V]{memory: New[K, V](size)}
}

// Get returns an entry. It puts an entry of the old generation again, so that entries
// in use are kept.
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

// Add adds an entry and returns its value. If another goroutine has added one under
// this key meanwhile, Add returns that value instead, so that all goroutines use the
// same one.
func (s *Shared[K, V]) Add(key K, value V) V {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known, found, _ := s.memory.Get(key); found {
		return known
	}
	s.memory.Put(key, value)
	return value
}
