package deviceauth

import (
	"errors"
	"time"
)

// What a device asks of its grant, and what it is told.

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

// What a device is told (RFC 8628 §3.5, RFC 6749 §5.2).
var (
	errUnknownCode = NewError("invalid_grant", "this device code is unknown, or another client's")
	errRedeemed    = NewError("invalid_grant", "this device code has been exchanged already; start again")
	errPending     = NewError("authorization_pending", "nobody has answered yet; ask again after the interval")
	errDenied      = NewError("access_denied", "the request was denied")
	errExpired     = NewError("expired_token", "the device code has expired; start again")
)

// What the page of a person is told.
var errDecided = NewError("decided", "this request has been answered already, or has expired")

// What a device is told about its refresh token (RFC 6749 §5.2, §6).
var (
	errUnknownToken = NewError("invalid_grant", "this refresh token is unknown, or another client's")
	errSpent        = NewError("invalid_grant",
		"this refresh token was replaced by a newer one; the device's access has been ended, start again")
	errOver  = NewError("invalid_grant", "this device's access has ended; start again")
	errWider = NewError("invalid_scope", "a refresh may narrow the scope that was granted, not widen it")
)

// A Redemption is a device's attempt to exchange its device code.
type Redemption struct {
	ClientID    string
	Device      Digest             // of the code presented
	Redirect    string             // the redirect_uri presented, of an authorization code
	Elsewhere   bool               // the code is presented in a network that its client's policy forbids
	Verifier    string             // the code_verifier presented
	Permitted   func(*Person) bool // may this person still approve?
	Entitled    Entitlement        // what the client may have now
	Resource    []string           // what this access token is to be good for; none: all
	AccessUntil time.Time          // end of the access token that stands ready
	Refresh     *Refresh           // what stands ready for offline_access, else nil
}

// belongs refuses a code that is another client's, or not in the hands of
// whoever asked for it. That says nothing, and changes nothing.
func (r Redemption) belongs(g *Grant) error {
	switch {
	case g.ClientID != r.ClientID || !g.Device.equal(r.Device) || g.Redirect != r.Redirect:
		return errUnknownCode
	case !proves(g.Challenge, r.Verifier):
		return errVerifier
	}
	return nil
}

// terms are what the tokens of the redemption are good for.
func (r Redemption) terms(g *Grant) (Terms, error) {
	terms, err := r.Entitled.terms(g, "", r.Resource)
	if errors.Is(err, errNothingLeft) {
		return terms, errDenied
	}
	return terms, err
}

// A Redelivery is a device's attempt to exchange its device code once more, of which
// the tokens were never handed out.
type Redelivery struct {
	Tokens    *Tokens            // that were made for it
	Permitted func(*Person) bool // may this person still approve?
	Entitled  Entitlement        // what the client may have now
}

// holds reports whether the grant is as the redemption with these tokens left it.
func (g *Grant) holds(t *Tokens) bool {
	if g.State != Active || !g.AccessUntil.Equal(t.until) || (g.Refresh == nil) != (t.refresh == nil) {
		return false
	}
	return t.refresh == nil || g.Refresh.Current.equal(t.refresh.Current)
}

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

// check is the last thing asked before a yes, so that a replay with a wrong
// scope is still a replay.
func (r Rotation) check(g *Grant) error {
	_, err := r.terms(g)
	return err
}

// terms are what the access token of the rotation is good for.
func (r Rotation) terms(g *Grant) (Terms, error) { return r.Entitled.terms(g, r.Scope, r.Resource) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
