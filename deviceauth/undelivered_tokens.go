package deviceauth

import (
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// undeliveredTokens remembers tokens that the client may or may not have received:
// the store failed while it kept them, and the device heard 503. If it turns
// out that they were kept, the device that asks again must get them, once, and
// a refresh that it repeats must not be taken for a theft. What is lost here,
// with the process, costs a device its login and nothing else.
type undeliveredTokens struct {
	mu sync.Mutex
	by map[ID][]undelivered
}

// undelivered is an answer that was not given.
type undelivered struct {
	tokens    *Tokens
	presented Digest    // the refresh token that it was for; none: a device code
	forget    time.Time // the device has given up by then
}

const (
	maxUndelivered = 10_000 // grants; some 10 MiB
	maxForGrant    = 4      // for each: polls that failed beside each other

	// undeliveredGrace is how long a device may ask again for tokens that were kept and not
	// given. For a refresh it stands in the place of a shorter Lifetime.RefreshGrace.
	undeliveredGrace = 5 * time.Minute
)

func (u *undeliveredTokens) note(id ID, h undelivered, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil {
		u.by = map[ID][]undelivered{}
	}
	sweep.AFew(u.by, func(_ ID, others []undelivered) bool {
		return now.After(others[len(others)-1].forget) || len(u.by) >= maxUndelivered
	})
	h.forget = now.Add(undeliveredGrace)
	list := append(u.by[id], h)
	u.by[id] = list[max(0, len(list)-maxForGrant):]
}

// redemption returns the tokens that the grant was given with its redemption,
// to one caller only.
func (u *undeliveredTokens) redemption(g *Grant, now time.Time) *Tokens {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, h := range u.by[g.ID] {
		if h.tokens != nil && g.holds(h.tokens) && now.Before(h.forget) {
			delete(u.by, g.ID)
			return h.tokens
		}
	}
	return nil
}

// rotation reports whether the grant was rotated for this refresh token, and
// never delivered to its device.
func (u *undeliveredTokens) rotation(g *Grant, presented Digest, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, h := range u.by[g.ID] {
		if h.tokens == nil && h.presented == presented && now.Before(h.forget) {
			return g.State == Active && g.Refresh != nil && g.Refresh.Previous.equal(presented)
		}
	}
	return false
}

func (u *undeliveredTokens) forget(id ID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.by, id)
}
