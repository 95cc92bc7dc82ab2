package demoidp

import "time"

// A shelf is a map whose items leave at their time. When it is full, what
// would have left first makes room.
type shelf[T any] map[string]shelved[T]

type shelved[T any] struct {
	value   T
	expires time.Time
}

// shelfSize is far above what one machine's demo needs, and small enough that
// looking through a whole shelf costs nothing.
const shelfSize = 1000

// put adds an item that leaves after its life. An existing key is overwritten
// and gets a new time.
func (s shelf[T]) put(key string, value T, life time.Duration) {
	now := time.Now()
	// A map has no order, so all items are looked at.
	first := s.sweep(now)
	if _, there := s[key]; !there && len(s) >= shelfSize {
		delete(s, first)
	}
	s[key] = shelved[T]{value, now.Add(life)}
}

// sweep removes what is over, and names what will be over first.
func (s shelf[T]) sweep(now time.Time) (first string) {
	var end time.Time
	for key, item := range s {
		switch {
		case now.After(item.expires):
			delete(s, key)
		case first == "" || item.expires.Before(end):
			first, end = key, item.expires
		}
	}
	return first
}

// get returns an item. An item whose time is over counts as absent, also
// before sweep has removed it.
func (s shelf[T]) get(key string) (value T, ok bool) {
	item, ok := s[key]
	if !ok || time.Now().After(item.expires) {
		return value, false
	}
	return item.value, true
}
