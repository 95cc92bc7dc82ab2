// Package sweep deletes expired entries from maps. It does not decide which entries
// have expired, and has no lock: the lock of its callers guards more than the map.
package sweep

// maxEntries is the number of entries that one call examines: more than one, so that a
// map to which each call adds one entry can shrink, and few, so that no call takes long.
const maxEntries = 4

// AFew examines a few entries of a map, and deletes those for which over returns
// true. Callers call it before they add an entry, so a map needs no timer and no full
// scan to stay small. Go starts each iteration at a random entry, so that all entries
// are examined in time.
func AFew[K comparable, V any](m map[K]V, over func(K, V) bool) {
	left := maxEntries
	for key, value := range m {
		if left--; left < 0 {
			return
		}
		if over(key, value) {
			delete(m, key)
		}
	}
}
