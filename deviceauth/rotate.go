package deviceauth

import "time"

// What a device is told about its refresh token (RFC 6749 §5.2, §6).
var (
	errUnknownToken = Refuse("invalid_grant", "this refresh token is unknown, or another client's")
	errSpent        = Refuse("invalid_grant", "this refresh token was replaced by a newer one; the device's access has been ended, start again")
	errOver         = Refuse("invalid_grant", "this device's access has ended; start again")
	errWider        = Refuse("invalid_scope", "a refresh may narrow the scope that was granted, not widen it")
)

// A Rotation is a device's attempt to refresh.
type Rotation struct {
	ClientID    string
	Person      *Person            // as the upstream knows them now; nil: it does not any more
	Presented   Digest             // of the refresh token presented
	Successor   Digest             // of the one that is to follow it
	Permitted   func(*Person) bool // may this person still approve?
	Entitled    Entitlement        // what the client may have now
	Scope       Scope              // what this access token is to be good for; empty: all
	Resource    []string           // the same of audiences; none: all
	Idle        time.Duration      // how long the successor lives unused
	Grace       time.Duration      // how long the predecessor is a retry and not a theft
	AccessUntil time.Time          // end of the access token that stands ready
}

// Rotate answers a refresh (RFC 6749 §6, RFC 9700 §4.14.2). The successor is
// derived from the token presented, so a retry with the predecessor finds the
// same successor in place and changes nothing.
func (g *Grant) Rotate(now time.Time, r Rotation) error {
	switch {
	case g.ClientID != r.ClientID || g.Refresh == nil:
		return errUnknownToken
	case g.State != Active || !now.Before(g.Refresh.Idle):
		return errOver
	case r.Person == nil:
		g.end(now, ReasonDisabled)
		return errOver
	case !r.Permitted(r.Person):
		g.end(now, ReasonBarred)
		return errOver
	case g.Refresh.Current.equal(r.Presented):
		return g.rotate(now, r)
	case g.Refresh.Previous.equal(r.Presented) && withinGrace(now, g.Refresh.Rotated, r.Grace):
		return r.check(g)
	}
	g.end(now, ReasonReplay)
	return errSpent
}

// check is the last thing asked before a yes, so that a replay with a wrong
// scope is still a replay.
func (r Rotation) check(g *Grant) error {
	_, err := r.terms(g)
	return err
}

// terms are what the access token of the rotation is good for.
func (r Rotation) terms(g *Grant) (Terms, error) { return r.Entitled.terms(g, r.Scope, r.Resource) }

func (g *Grant) rotate(now time.Time, r Rotation) error {
	if err := r.check(g); err != nil {
		return err
	}
	next := *g.Refresh // a copy: whoever holds the old record keeps it as it was
	next.Previous, next.Current, next.Rotated = next.Current, r.Successor, now
	next.Idle = earlier(now.Add(r.Idle), next.Until)
	g.Refresh, g.Person = &next, r.Person
	if r.AccessUntil.After(g.AccessUntil) {
		g.AccessUntil = r.AccessUntil
	}
	g.enter(Active)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
