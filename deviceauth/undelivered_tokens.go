package deviceauth

import (
	"sync"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/sweep"
)

// undeliveredTokens keeps tokens that were not delivered: the store failed during the
// write, and the device received 503. If it turns out that the write succeeded, the
// device must receive them when it polls again, once; and a refresh that it repeats
// must not count as a theft. If the process ends, an entry is lost and its device
// must log in again.
type undeliveredTokens struct {
	mu sync.Mutex
	by map[ID][]undelivered
}

// undelivered is a token response that was not sent.
type undelivered struct {
	tokens    *Tokens
	presented Digest    // the refresh token of the request; zero: the request had a device code
	forget    time.Time // when the entry is dropped, because the device has given up
}

const (
	maxUndelivered = 10_000 // grants; some 10 MiB
	maxForGrant    = 4      // entries of each grant, for concurrent polls that failed

	// undeliveredGrace is how long a device may repeat a request whose tokens were
	// stored but not delivered. For a refresh it replaces a shorter
	// Lifetime.RefreshGrace.
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

// redemption returns the undelivered tokens of the grant's redemption, to one caller
// only.
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

// rotation reports whether the grant was rotated with this refresh token and the new
// token was not delivered.
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
