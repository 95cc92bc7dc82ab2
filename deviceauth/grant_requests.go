package deviceauth

import (
	"errors"
	"time"
)

// Requests of a device to its grant, and their responses.

// Time limits of the protocol that are not configurable.
const (
	replayGrace = 30 * time.Second // a redemption that is repeated within it is a retry, later a theft
	lateGrace   = time.Minute      // an approval in time can be redeemed this long after the code's expiry
	remembered  = 10 * time.Minute // how long a device can still learn how its grant ended
)

// maxClockSkew is how much the clocks of gateways may differ.
const maxClockSkew = time.Minute

// withinGrace reports whether something happened so recently that its repetition is a
// retry. A time in the future, set by a clock that was ahead, does not count: its
// grace period would last until then.
func withinGrace(now, happened time.Time, grace time.Duration) bool {
	elapsed := now.Sub(happened)
	return elapsed < grace && elapsed >= -maxClockSkew
}

// Errors of the token endpoint (RFC 8628 §3.5, RFC 6749 §5.2).
var (
	errUnknownCode = NewError("invalid_grant", "this device code is unknown, or another client's")
	errRedeemed    = NewError("invalid_grant", "this device code has been exchanged already; start again")
	errPending     = NewError("authorization_pending", "nobody has answered yet; ask again after the interval")
	errDenied      = NewError("access_denied", "the request was denied")
	errExpired     = NewError("expired_token", "the device code has expired; start again")
)

// errDecided is the error for the page of a person whose answer comes twice or too late.
var errDecided = NewError("decided", "this request has been answered already, or has expired")

// Errors of the token endpoint about a refresh token (RFC 6749 §5.2, §6).
var (
	errUnknownToken = NewError("invalid_grant", "this refresh token is unknown, or another client's")
	errSpent        = NewError("invalid_grant",
		"this refresh token was replaced by a newer one; the device's access has been ended, start again")
	errOver  = NewError("invalid_grant", "this device's access has ended; start again")
	errWider = NewError("invalid_scope", "a refresh may narrow the scope that was granted, not widen it")
)

// A Redemption is a request to exchange a device code or an authorization code.
type Redemption struct {
	ClientID    string
	Device      Digest             // of the presented code
	Redirect    string             // the presented redirect_uri, with an authorization code
	Elsewhere   bool               // the code is presented from a network that its client's policy forbids
	Verifier    string             // the presented code_verifier
	Permitted   func(*Person) bool // reports whether the person may still approve
	Entitled    Entitlement        // the current limits of the client
	Resource    []string           // audience of this access token; none: all
	AccessUntil time.Time          // expiry of the access token that has been created
	Refresh     *Refresh           // the refresh token that has been created with offline_access, else nil
}

// belongs refuses a code of another client with the same error as an unknown one,
// and a request without the code's code_verifier. The grant is not changed.
func (r Redemption) belongs(g *Grant) error {
	switch {
	case g.ClientID != r.ClientID || !g.Device.equal(r.Device) || g.Redirect != r.Redirect:
		return errUnknownCode
	case !proves(g.Challenge, r.Verifier):
		return errVerifier
	}
	return nil
}

// terms returns the scope and audience of the tokens of the redemption.
func (r Redemption) terms(g *Grant) (Terms, error) {
	terms, err := r.Entitled.terms(g, "", r.Resource)
	if errors.Is(err, errNothingLeft) {
		return terms, errDenied
	}
	return terms, err
}

// A Redelivery is another request with a device code whose tokens were created but
// never delivered.
type Redelivery struct {
	Tokens    *Tokens            // the tokens that were created
	Permitted func(*Person) bool // reports whether the person may still approve
	Entitled  Entitlement        // the current limits of the client
}

// holds reports whether the grant is still as a redemption with these tokens left it.
func (g *Grant) holds(t *Tokens) bool {
	if g.State != Active || !g.AccessUntil.Equal(t.until) || (g.Refresh == nil) != (t.refresh == nil) {
		return false
	}
	return t.refresh == nil || g.Refresh.Current.equal(t.refresh.Current)
}

// A Rotation is a refresh request.
type Rotation struct {
	ClientID    string
	Person      *Person            // with current claims; nil: the upstream no longer vouches for the person
	Presented   Digest             // of the presented refresh token
	Successor   Digest             // of the new refresh token
	Permitted   func(*Person) bool // reports whether the person may still approve
	Entitled    Entitlement        // the current limits of the client
	Scope       Scope              // of this access token; empty: all
	Resource    []string           // audience of this access token; none: all
	Idle        time.Duration      // lifetime of the new refresh token if it is not used
	Grace       time.Duration      // how long the old refresh token counts as a retry and not as a theft
	AccessUntil time.Time          // expiry of the access token that has been created
}

// check returns an error if the requested scope or resource is not permitted. It is
// called last, so that a replay with a wrong scope still counts as a replay.
func (r Rotation) check(g *Grant) error {
	_, err := r.terms(g)
	return err
}

// terms returns the scope and audience of the access token of the rotation.
func (r Rotation) terms(g *Grant) (Terms, error) { return r.Entitled.terms(g, r.Scope, r.Resource) }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
