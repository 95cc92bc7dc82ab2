package deviceauth

import (
	"net/netip"
	"time"
)

// A State is where in its life a grant is.
//
//	                ┌─ Deny ──► denied
//	Authorize ► pending                       ┌ Rotate ┐
//	                └─ Approve ► approved ─ Redeem ► active ─ Revoke, replay ► revoked
//
// Expiry is no state: it is a question asked of a grant and the clock.
type State string

// The states of a grant.
const (
	Pending  State = "pending"  // the device shows its code and waits
	Denied   State = "denied"   // somebody said no, or may no longer say yes
	Approved State = "approved" // somebody said yes; the device does not know yet
	Active   State = "active"   // the device has its tokens
	Revoked  State = "revoked"  // cut off, by a person, by the device, or for a replay
)

// A Grant is one device's whole life. Its methods are the protocol: they are
// pure functions of the grant, the time and digests. A method that refuses may
// still have changed the grant ("replayed, so revoked"); whoever calls it
// keeps the change and then passes the refusal on.
type Grant struct {
	ID       ID       `json:"id"`
	Revision int      `json:"rev"` // how many changes made it what it is
	State    State    `json:"state"`
	ClientID string   `json:"client"`
	UserCode UserCode `json:"user_code"` // once the device has its tokens, the last letters alone
	Device   Digest   `json:"device"`    // of the device code
	Scope    Scope    `json:"scope,omitempty"`
	Audience []string `json:"aud,omitempty"`

	Challenge Digest `json:"code_challenge,omitzero"` // binds the device code to whoever has its code_verifier (RFC 7636)

	From    netip.Addr `json:"from,omitzero"`   // where the device asked from
	Place   string     `json:"place,omitempty"` // where that is in words, if somebody knows
	Label   string     `json:"label,omitempty"` // what the device calls itself, which nobody has checked
	Created time.Time  `json:"created"`
	Expires time.Time  `json:"expires"` // of the device code

	Person  *Person   `json:"person,omitempty"` // who said yes
	Name    string    `json:"name,omitempty"`   // what that person calls the device; empty: nothing yet
	Decided time.Time `json:"decided,omitzero"`

	Redeemed    time.Time `json:"redeemed,omitzero"`
	AccessUntil time.Time `json:"access_until,omitzero"` // end of the last access token
	Refresh     *Refresh  `json:"refresh,omitempty"`     // with offline_access

	Ended  time.Time `json:"ended,omitzero"`
	Reason string    `json:"reason,omitempty"` // why it ended, for the audit log
}

// Refresh is what is kept of a grant's refresh tokens: two digests and their
// times. Older tokens need not be remembered: any other one is a replay.
type Refresh struct {
	Current  Digest    `json:"current"`
	Previous Digest    `json:"previous,omitzero"`
	Rotated  time.Time `json:"rotated"`
	Idle     time.Time `json:"idle"`  // ends unless used by then
	Until    time.Time `json:"until"` // ends then, used or not
}

// The times of the protocol that no operator has a reason to change.
const (
	replayGrace = 30 * time.Second // a repeated redemption is a lost answer, later it is a theft
	lateGrace   = time.Minute      // a yes in time is honoured this long after the code's expiry
	remembered  = 10 * time.Minute // how long a device can still hear how it ended
)

// maxClockSkew is how much the clocks of gateways may differ.
const maxClockSkew = time.Minute

// withinGrace reports whether something happened so short a time ago that a repeat
// is a lost answer. What happened in the future, by a clock that was ahead, is no
// moment ago: its grace would last until then.
func withinGrace(now, happened time.Time, grace time.Duration) bool {
	elapsed := now.Sub(happened)
	return elapsed < grace && elapsed >= -maxClockSkew
}

// Why a grant ended, where there is more to say than that it did.
const (
	ReasonReplay    = "replay"     // a spent code or token was presented
	ReasonRevoked   = "revoked"    // the device or a person asked for it
	ReasonReported  = "reported"   // denied: somebody else had asked the person for a yes
	ReasonBarred    = "barred"     // the person may no longer approve
	ReasonDisabled  = "disabled"   // the upstream no longer vouches for the person
	ReasonSignedOut = "signed_out" // the person signed out at the upstream
	ReasonOperator  = "operator"   // the operator ended it

	ReasonCrowdedOut = "crowded_out" // it waited where too many did, and gave way
)

// What a device is told (RFC 8628 §3.5, RFC 6749 §5.2).
var (
	errUnknownCode = Refuse("invalid_grant", "this device code is unknown, or another client's")
	errRedeemed    = Refuse("invalid_grant", "this device code has been exchanged already; start again")
	errPending     = Refuse("authorization_pending", "nobody has answered yet; ask again after the interval")
	errDenied      = Refuse("access_denied", "the request was denied")
	errExpired     = Refuse("expired_token", "the device code has expired; start again")
)

// What the page of a person is told.
var errDecided = Refuse("decided", "this request has been answered already, or has expired")

// Expired reports whether the device code's time is over.
func (g *Grant) Expired(now time.Time) bool { return !now.Before(g.Expires) }

// Open reports whether the grant still waits for its user code.
func (g *Grant) Open(now time.Time) bool { return g.State == Pending && !g.Expired(now) }

// CodeTail returns the last letters of the user code, by which a person tells
// what they have connected apart. While the code may still be typed, and after a
// no, it is empty: none of it helps a guesser.
func (g *Grant) CodeTail() string {
	if g.State == Pending || g.Person == nil {
		return ""
	}
	return string(g.UserCode.tail())
}

// Belongs reports whether a person approved the grant. Their subject names the
// upstream, too, so a namesake at another one is somebody else.
func (g *Grant) Belongs(p *Person) bool { return g.Person != nil && g.Person.Subject == p.Subject }

// Alive reports whether the grant's access tokens are good, as far as the
// grant has a say in it.
func (g *Grant) Alive() bool { return g.State == Active }

// Approve says yes for a person.
func (g *Grant) Approve(now time.Time, p *Person) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Approved)
	g.Person, g.Decided = p, now
	return nil
}

// Deny says no. Who said it is nobody's business but the audit log's.
func (g *Grant) Deny(now time.Time, reason string) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Denied)
	g.Decided, g.Ended, g.Reason = now, now, reason
	return nil
}

// CrowdOut ends a grant that waits, because too many do and those where its
// device asked from hold most. Its device hears expired_token, as if its code's
// time had been short: nobody said no, and it may begin again.
func (g *Grant) CrowdOut(now time.Time) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Denied)
	g.Ended, g.Reason = now, ReasonCrowdedOut
	return nil
}

func (g *Grant) crowdedOut() bool { return g.State == Denied && g.Reason == ReasonCrowdedOut }

// forgetCode leaves of a code that is spent what is shown to people later. A
// grant that nobody redeems keeps it for the minutes until it is forgotten.
func (g *Grant) forgetCode() {
	g.UserCode = g.UserCode.tail()
	if g.Person.Fresh != "" {
		p := *g.Person
		p.Fresh = ""
		g.Person = &p
	}
}

// Rename has the device's owner name it, as [CleanName] spells names; an empty
// one takes the name away. Only what is connected is anybody's to name.
func (g *Grant) Rename(now time.Time, p *Person, name string) error {
	if !g.Belongs(p) || !g.Connected(now) {
		return errNotConnected
	}
	if g.Name != name {
		g.Name = name
		g.Revision++
	}
	return nil
}

// Revoke ends an approved or active grant. A grant that has ended stays as it is.
func (g *Grant) Revoke(now time.Time, reason string) error {
	if g.State == Active || g.State == Approved {
		g.end(now, reason)
	}
	return nil
}

// Withdraw ends a grant wherever in its life it is: one that waits is denied,
// and one that has ended stays as it is.
func (g *Grant) Withdraw(now time.Time, reason string) error {
	if g.Open(now) {
		return g.Deny(now, reason)
	}
	return g.Revoke(now, reason)
}

func (g *Grant) enter(s State) {
	g.State = s
	g.Revision++
}

func (g *Grant) end(now time.Time, reason string) {
	g.enter(Revoked)
	g.Ended, g.Reason = now, reason
}

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
