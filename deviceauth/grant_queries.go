package deviceauth

import "time"

// Questions about a grant. None of them changes it.

// Expired reports whether the device code's time is over.
func (g *Grant) Expired(now time.Time) bool { return !now.Before(g.Expires) }

// Open reports whether the grant still waits for its user code.
func (g *Grant) Open(now time.Time) bool { return g.State == Pending && !g.Expired(now) }

// CodeTail returns the last letters of the user code, by which a person tells
// what they have connected apart. While the code may still be typed, and after a
// no, it is empty: none of it helps a guesser.
func (g *Grant) CodeTail() string {
	if g.State == Pending || g.Person == nil || g.Redirect != "" { // a login in the browser has an id that is not typed
		return ""
	}
	return string(g.UserCode.tail())
}

// Belongs reports whether a person approved the grant. Their subject names the
// upstream, too, so a namesake at another one is another person.
func (g *Grant) Belongs(p *Person) bool { return g.Person != nil && g.Person.Subject == p.Subject }

// IsActive reports whether the grant's access tokens are good, as far as the
// grant has a say in it.
func (g *Grant) IsActive() bool { return g.State == Active }

func (g *Grant) crowdedOut() bool { return g.State == Denied && g.Reason == ReasonCrowdedOut }

// KeepUntil is when a store may forget the grant: no token of it works any
// more, and its device has had the time to hear how it ended. It never moves
// towards the past: a record that was to be kept longer once might outlive its
// successor on a disk and come back to life.
func (g *Grant) KeepUntil() time.Time {
	last := g.Expires.Add(lateGrace)
	if g.AccessUntil.After(last) {
		last = g.AccessUntil
	}
	if r := g.Refresh; r != nil && r.Idle.After(last) {
		last = r.Idle
	}
	return last.Add(remembered)
}

// Connected reports whether the device can still use what it was given.
func (g *Grant) Connected(now time.Time) bool {
	return g.State == Active && (now.Before(g.AccessUntil) || g.Refresh != nil && now.Before(g.Refresh.Idle))
}

// Used is when the device was last given tokens.
func (g *Grant) Used() time.Time {
	if g.Refresh != nil {
		return g.Refresh.Rotated
	}
	return g.Redeemed
}

// Standing returns the grant's state in the light of the clock.
func (g *Grant) Standing(now time.Time) Standing {
	switch {
	case g.crowdedOut():
		return StandingExpired
	case g.State == Denied:
		return StandingDenied
	case g.State == Revoked:
		return StandingRevoked
	case g.Open(now):
		return StandingPending
	case g.State == Approved && now.Before(g.Expires.Add(lateGrace)):
		return StandingApproved
	case g.Connected(now):
		return StandingConnected
	}
	return StandingExpired
}

// Until is when the grant ends by itself; zero: it has ended.
func (g *Grant) Until(now time.Time) time.Time {
	switch g.Standing(now) {
	case StandingPending:
		return g.Expires
	case StandingApproved:
		return g.Expires.Add(lateGrace)
	case StandingConnected:
		if g.Refresh != nil && g.Refresh.Idle.After(g.AccessUntil) {
			return g.Refresh.Idle
		}
		return g.AccessUntil
	}
	return time.Time{}
}

// rotates reports whether a refresh token is the grant's current one, so that
// it makes new tokens and is no mere retry.
func (g *Grant) rotates(now time.Time, presented Digest) bool {
	return g.State == Active && g.Refresh != nil && now.Before(g.Refresh.Idle) && g.Refresh.Current.equal(presented)
}

// honours reports whether a refresh token still gets tokens: the current one
// does, and the one before within its grace.
func (g *Grant) honours(now time.Time, presented Digest, grace time.Duration) bool {
	return g.rotates(now, presented) || g.State == Active && g.Refresh != nil && now.Before(g.Refresh.Idle) &&
		g.Refresh.Previous.equal(presented) && withinGrace(now, g.Refresh.Rotated, grace)
}
