package demoidp

import "time"

// A shelf is a map whose items leave at their time, or when it is full.
type shelf[T any] map[string]shelved[T]

type shelved[T any] struct {
	value   T
	expires time.Time
}

const shelfSize = 1000

func (s shelf[T]) put(key string, value T, life time.Duration) {
	now := time.Now()
	for k, item := range s {
		if now.After(item.expires) || len(s) >= shelfSize {
			delete(s, k)
		}
	}
	s[key] = shelved[T]{value, now.Add(life)}
}

func (s shelf[T]) get(key string) (value T, ok bool) {
	item, ok := s[key]
	if !ok || time.Now().After(item.expires) {
		return value, false
	}
	return item.value, true
}
