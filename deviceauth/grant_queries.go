package deviceauth

import "time"

// Queries of a grant. None of them changes it.

// Expired reports whether the device code has expired.
func (g *Grant) Expired(now time.Time) bool { return !now.Before(g.Expires) }

// Open reports whether the grant is pending and has not expired.
func (g *Grant) Open(now time.Time) bool { return g.State == Pending && !g.Expired(now) }

// CodeTail returns the last letters of the user code, with which a person
// distinguishes connected devices. It is empty while the code may still be typed, and
// after a denial, because it would help a guesser.
func (g *Grant) CodeTail() string {
	if g.State == Pending || g.Person == nil || g.Redirect != "" { // a code grant has its id as user code
		return ""
	}
	return string(g.UserCode.tail())
}

// Belongs reports whether a person approved the grant. The subject contains the
// upstream, so a person with the same sub at another upstream is another person.
func (g *Grant) Belongs(p *Person) bool { return g.Person != nil && g.Person.Subject == p.Subject }

// IsActive reports whether the grant permits the use of its access tokens.
func (g *Grant) IsActive() bool { return g.State == Active }

func (g *Grant) crowdedOut() bool { return g.State == Denied && g.Reason == ReasonCrowdedOut }

// KeepUntil returns when a store may delete the grant: all of its tokens have
// expired, and its device has had the time to learn how it ended. KeepUntil never
// decreases: an earlier version of the record with a longer lifetime might outlive a
// newer one on a disk, and become valid again.
func (g *Grant) KeepUntil() time.Time {
	last := g.Expires.Add(lateGrace)
	// As long as the page of an authorization request can be submitted, its answer is kept.
	if asked := g.Created.Add(requestLifetime); g.Redirect != "" && asked.After(last) {
		last = asked
	}
	if g.AccessUntil.After(last) {
		last = g.AccessUntil
	}
	if r := g.Refresh; r != nil && r.Idle.After(last) {
		last = r.Idle
	}
	return last.Add(remembered)
}

// Connected reports whether the device can still use its tokens.
func (g *Grant) Connected(now time.Time) bool {
	return g.State == Active && (now.Before(g.AccessUntil) || g.Refresh != nil && now.Before(g.Refresh.Idle))
}

// isConnection reports whether the device can use its tokens, or can still get them. It
// is what a person can disconnect.
func (g *Grant) isConnection(now time.Time) bool {
	return g.Standing(now) == StandingApproved || g.Connected(now)
}

// Used returns when the device last received tokens.
func (g *Grant) Used() time.Time {
	if g.Refresh != nil {
		return g.Refresh.Rotated
	}
	return g.Redeemed
}

// Standing returns the standing of the grant at a certain time.
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

// Until returns when the grant ends unless something ends it earlier; zero: it has
// ended.
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

// rotates reports whether a refresh token is the grant's current one, so that its use
// is a rotation and not a retry.
func (g *Grant) rotates(now time.Time, presented Digest) bool {
	return g.State == Active && g.Refresh != nil && now.Before(g.Refresh.Idle) && g.Refresh.Current.equal(presented)
}

// honours reports whether a refresh token is still accepted: the current one is, and
// the previous one during its grace period.
func (g *Grant) honours(now time.Time, presented Digest, grace time.Duration) bool {
	return g.rotates(now, presented) || g.State == Active && g.Refresh != nil && now.Before(g.Refresh.Idle) &&
		g.Refresh.Previous.equal(presented) && withinGrace(now, g.Refresh.Rotated, grace)
}
