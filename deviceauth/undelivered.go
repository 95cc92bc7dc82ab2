package deviceauth

import (
	"sync"
	"time"
)

// undelivered remembers tokens of which nobody knows whether they were given:
// the store failed while it kept them, and the device heard 503. If it turns
// out that they were kept, the device that asks again must get them, once, and
// a refresh that it repeats must not be taken for a theft. What is lost here,
// with the process, costs a device its login and nothing else.
type undelivered struct {
	mu sync.Mutex
	by map[ID]handout
}

// A handout is the answer that was not given.
type handout struct {
	tokens    *Tokens
	presented Digest    // the refresh token that it was for; none: a device code
	forget    time.Time // a store that is away for longer is back as another one
}

// maxUndelivered bounds the memory to some 10 MiB.
const maxUndelivered = 10_000

func (u *undelivered) note(id ID, h handout) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil {
		u.by = map[ID]handout{}
	}
	looks := 4
	for old, other := range u.by {
		if looks--; looks < 0 {
			break
		}
		if time.Now().After(other.forget) || len(u.by) >= maxUndelivered {
			delete(u.by, old)
		}
	}
	u.by[id] = h
}

// redemption returns the tokens that the grant was given with its redemption,
// to one caller only.
func (u *undelivered) redemption(g *Grant) *Tokens {
	u.mu.Lock()
	defer u.mu.Unlock()
	h, ok := u.by[g.ID]
	if !ok || h.presented != (Digest{}) || !g.holds(h.tokens) {
		return nil
	}
	delete(u.by, g.ID)
	return h.tokens
}

// rotation reports whether the grant was rotated for this refresh token, and
// its device never told.
func (u *undelivered) rotation(g *Grant, presented Digest) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	h, ok := u.by[g.ID]
	return ok && h.presented == presented && g.State == Active && g.Refresh != nil && g.Refresh.Previous.equal(presented)
}

func (u *undelivered) forget(id ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.by, id)
}

// holds reports whether the grant is as the redemption with these tokens left it.
func (g *Grant) holds(t *Tokens) bool {
	if g.State != Active || !g.AccessUntil.Equal(t.until) || (g.Refresh == nil) != (t.refresh == nil) {
		return false
	}
	return t.refresh == nil || g.Refresh.Current.equal(t.refresh.Current)
}
