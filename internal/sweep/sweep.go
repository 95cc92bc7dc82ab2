// Package sweep takes what is over out of maps. It does not decide what is over, and has
// no lock: its callers have one that guards more than this.
package sweep

// looks is more than one, so that what is over shrinks where one entry comes at a time,
// and few, so that no caller waits.
const looks = 4

// AFew looks at a few entries of a map, and deletes those that are over. It is called
// before an entry is added: then a map needs no timer, and no walk over all of it, to
// stay in proportion to what still counts. Go's maps begin each walk at a place of their
// own, so that all entries have their turn.
func AFew[K comparable, V any](m map[K]V, over func(K, V) bool) {
	left := looks
	for key, value := range m {
		if left--; left < 0 {
			return
		}
		if over(key, value) {
			delete(m, key)
		}
	}
}
