package deviceauth

import (
	"net/netip"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A State is the state of a grant:
//
//	                ┌─ Deny ──► denied
//	Authorize ► pending                                 ┌ Rotate ┐
//	                └─ Approve ► approved ─ Redeem, Exchange ► active ─ Revoke, replay ► revoked
//
// Expiry is not a state: it depends on the time of the question.
type State string

// The states of a grant.
const (
	Pending  State = "pending"  // the device shows its code and polls
	Denied   State = "denied"   // a person denied it or may no longer approve it, or it was crowded out
	Approved State = "approved" // a person approved it; the device has not polled since
	Active   State = "active"   // the device has its tokens
	Revoked  State = "revoked"  // cut off, by a person, by the device, or for a replay
)

// A Grant is the whole life of one device. Its methods are the protocol. They are
// pure functions of the grant, the time and digests. A method that returns a refusal
// may have changed the grant all the same ("replayed, so revoked"): the caller must
// store the grant before it returns the refusal.
type Grant struct {
	ID       ID       `json:"id"`
	Revision int      `json:"rev"` // the number of changes
	State    State    `json:"state"`
	ClientID string   `json:"client"`
	UserCode UserCode `json:"user_code"` // once the device has its tokens, only the last letters
	Device   Digest   `json:"device"`    // of the device code
	Scope    Scope    `json:"scope,omitempty"`
	Audience []string `json:"aud,omitempty"`

	Challenge Digest `json:"code_challenge,omitzero"` // binds the code to its code_verifier (RFC 7636)
	Nonce     string `json:"nonce,omitempty"`         // of the authorization request, for the first ID token
	// the redirect URI of an authorization code grant; empty: a device grant
	Redirect string `json:"redirect,omitempty"`

	From    netip.Addr `json:"from,omitzero"`   // the address of the device
	Place   string     `json:"place,omitempty"` // the location of that address in words, if known
	Label   string     `json:"label,omitempty"` // the name that the device gives itself, unchecked
	Created time.Time  `json:"created"`
	Expires time.Time  `json:"expires"` // of the device code

	Person  *Person   `json:"person,omitempty"` // who approved the grant
	Name    string    `json:"name,omitempty"`   // the name that the person gave the device; empty: none
	Decided time.Time `json:"decided,omitzero"`

	Redeemed    time.Time `json:"redeemed,omitzero"`
	AccessUntil time.Time `json:"access_until,omitzero"` // expiry of the last access token
	Refresh     *Refresh  `json:"refresh,omitempty"`     // with offline_access

	Ended  time.Time `json:"ended,omitzero"`
	Reason string    `json:"reason,omitempty"` // why it ended, for the audit log
}

// newGrant returns a new pending grant for a device.
func newGrant(now time.Time, lifetime time.Duration, r AuthorizeRequest) *Grant {
	return &Grant{
		ID: newID(), State: Pending, ClientID: r.Client.ClientID, Created: now, Expires: now.Add(lifetime),
		From: r.From, Place: r.place(), Label: text.CleanName(r.Label),
	}
}

// Approve records that a person approved the grant.
func (g *Grant) Approve(now time.Time, p *Person) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Approved)
	g.Person, g.Decided = p, now
	return nil
}

// Deny records a denial. The person who denied is only in the audit log, not in the record.
func (g *Grant) Deny(now time.Time, reason string) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Denied)
	g.Decided, g.Ended, g.Reason = now, now, reason
	return nil
}

// CrowdOut ends a pending grant because too many are pending and its device's network has
// the most of them. The device gets expired_token: it was not denied, and may start again.
func (g *Grant) CrowdOut(now time.Time) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Denied)
	g.Ended, g.Reason = now, ReasonCrowdedOut
	return nil
}

// Redeem answers a poll (RFC 8628 §3.4); poll_state.go decides whether it is too early
// (§3.5). The order of the checks is part of the contract: another client's code reveals
// nothing, a replay is always recognized, and an end is reported whatever the interval.
func (g *Grant) Redeem(now time.Time, r Redemption) error {
	if err := r.belongs(g); err != nil {
		return err
	}
	switch {
	case g.State == Revoked && g.Redeemed.IsZero():
		return errDenied // the person ended it before the device polled
	case g.State == Revoked:
		return errRedeemed
	case g.State == Active:
		if !withinGrace(now, g.Redeemed, replayGrace+1) { // the 30th second counts, too
			g.end(now, ReasonReplay)
		}
		return errRedeemed
	case g.crowdedOut():
		return errExpired
	case g.State == Denied:
		return errDenied
	case g.State == Approved && !now.Before(g.Expires.Add(lateGrace)), g.State == Pending && g.Expired(now):
		return errExpired
	}
	if _, err := r.terms(g); err != nil {
		return err // the grant is not changed: its code is valid again once the configuration permits it
	}
	if g.State == Approved {
		return g.activate(now, r)
	}
	return errPending
}

// Exchange answers a request with an authorization code (RFC 6749 §4.1.3). A code may
// be used once: a second use ends the grant, and revokes the tokens of the first use.
func (g *Grant) Exchange(now time.Time, r Redemption) error {
	if err := r.belongs(g); err != nil {
		return err
	}
	switch {
	case g.State == Active:
		g.end(now, ReasonReplay)
		return errUsedAuthCode
	case g.State != Approved:
		return errUsedAuthCode
	case g.Expired(now):
		return errExpiredAuthCode
	case r.Elsewhere:
		g.end(now, ReasonElsewhere)
		return errElsewhereAuthCode
	}
	if _, err := r.terms(g); err != nil {
		return err
	}
	return g.activate(now, r)
}

// Reissue gives out the code of an authorization request once more: the person approved
// it a second time. The code is the same unless its key has been replaced since.
func (g *Grant) Reissue(now time.Time, p *Person, code Digest) error {
	g.Renew(now.Add(codeLifetime))
	mine := g.State == Pending || g.State == Approved && g.Person.Subject == p.Subject
	if g.Redirect == "" || !mine || g.Expired(now) {
		return errDecided
	}
	if !g.Device.equal(code) {
		g.Device = code
		g.Revision++
	}
	return nil
}

// Renew prolongs a pending authorization code grant. Such a grant is pending only because
// the store failed during the person's answer.
func (g *Grant) Renew(until time.Time) {
	if g.State == Pending && g.Redirect != "" && until.After(g.Expires) {
		g.Expires = until
		g.Revision++
	}
}

func (g *Grant) activate(now time.Time, r Redemption) error {
	if !r.Permitted(g.Person) {
		g.enter(Denied)
		g.Ended, g.Reason = now, ReasonBarred
		return errDenied
	}
	g.enter(Active)
	g.Redeemed, g.AccessUntil, g.Refresh = now, r.AccessUntil, r.Refresh
	g.forgetCode()
	return nil
}

// Redeliver permits the delivery of the tokens of an earlier redemption that were not
// delivered because the store failed: the device received 503 and polls again. It
// changes the grant again, so that the grant is on disk before the tokens are sent.
func (g *Grant) Redeliver(now time.Time, r Redelivery) error {
	switch {
	case !g.holds(r.Tokens):
		return errRedeemed
	case !r.Permitted(g.Person) || !r.Entitled.covers(r.Tokens.terms):
		g.end(now, ReasonBarred)
		return errDenied
	}
	g.enter(Active)
	return nil
}

// Rotate answers a refresh (RFC 6749 §6, RFC 9700 §4.14.2). The new refresh token is
// derived from the presented one, so that a retry with the old token gets the same
// new token and changes nothing.
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

func (g *Grant) rotate(now time.Time, r Rotation) error {
	if err := r.check(g); err != nil {
		return err
	}
	next := *g.Refresh // a copy: the old record must not change
	next.Previous, next.Current, next.Rotated = next.Current, r.Successor, now
	next.Idle = earlier(now.Add(r.Idle), next.Until)
	g.Refresh, g.Person = &next, r.Person
	if r.AccessUntil.After(g.AccessUntil) {
		g.AccessUntil = r.AccessUntil
	}
	g.enter(Active)
	return nil
}

// forgetCode removes a redeemed code, except for the part that is shown to people. A
// grant that is not redeemed keeps its code until it is deleted.
func (g *Grant) forgetCode() {
	g.UserCode, g.Nonce = g.UserCode.tail(), ""
	if g.Person.Fresh != "" {
		p := *g.Person
		p.Fresh = ""
		g.Person = &p
	}
}

// Rename sets the name that its owner gives to a device, normalized by
// [text.CleanName]; an empty name removes it. Only a connected device can be named.
func (g *Grant) Rename(now time.Time, p *Person, name string) error {
	if !g.Belongs(p) || !g.isConnection(now) {
		return errNotConnected
	}
	if g.Name != name {
		g.Name = name
		g.Revision++
	}
	return nil
}

// Revoke ends an approved or active grant. It does not change a grant that has ended.
func (g *Grant) Revoke(now time.Time, reason string) error {
	if g.State == Active || g.State == Approved {
		g.end(now, reason)
	}
	return nil
}

// Withdraw ends a grant in any state: a pending grant is denied, and one that has
// ended is not changed.
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
