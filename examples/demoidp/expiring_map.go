package demoidp

import "time"

// An expiringMap is a map whose items expire. If it is full, the item that
// expires first is removed for a new one.
type expiringMap[T any] map[string]expiringItem[T]

type expiringItem[T any] struct {
	value   T
	expires time.Time
}

// maxItems is far above what a demo needs, and small enough that a scan of all
// items costs little.
const maxItems = 1000

// put adds an item that expires after its life, or replaces the item with the
// same key.
func (s expiringMap[T]) put(key string, value T, life time.Duration) {
	now := time.Now()
	// A map has no order, so all items are examined.
	first := s.sweep(now)
	if _, there := s[key]; !there && len(s) >= maxItems {
		delete(s, first)
	}
	s[key] = expiringItem[T]{value: value, expires: now.Add(life)}
}

// sweep removes expired items, and returns the key of the item that expires
// first.
func (s expiringMap[T]) sweep(now time.Time) (first string) {
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

// get returns an item. An expired item counts as absent, even before sweep has
// removed it.
func (s expiringMap[T]) get(key string) (value T, ok bool) {
	item, ok := s[key]
	if !ok || time.Now().After(item.expires) {
		return value, false
	}
	return item.value, true
}
