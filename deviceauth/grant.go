package deviceauth

import (
	"net/netip"
	"time"

	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A State is where in its life a grant is.
//
//	                ┌─ Deny ──► denied
//	Authorize ► pending                                 ┌ Rotate ┐
//	                └─ Approve ► approved ─ Redeem, Exchange ► active ─ Revoke, replay ► revoked
//
// Expiry is no state: it is a question asked of a grant and the clock.
type State string

// The states of a grant.
const (
	Pending  State = "pending"  // the device shows its code and waits
	Denied   State = "denied"   // a person denied it or may no longer allow it, or it gave way to others
	Approved State = "approved" // a person allowed it; the device has not polled since
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

	Challenge Digest `json:"code_challenge,omitzero"` // binds the code to its code_verifier (RFC 7636)
	Nonce     string `json:"nonce,omitempty"`         // of a login in the browser, for the first ID token
	// where the code went, of a login in the browser; empty: a device's
	Redirect string `json:"redirect,omitempty"`

	From    netip.Addr `json:"from,omitzero"`   // where the device asked from
	Place   string     `json:"place,omitempty"` // where that is in words, if known
	Label   string     `json:"label,omitempty"` // what the device calls itself, unchecked
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

// newGrant begins the life of a grant: it waits for a person, who has its code.
func newGrant(now time.Time, lifetime time.Duration, r AuthorizeRequest) *Grant {
	return &Grant{
		ID: newID(), State: Pending, ClientID: r.Client.ClientID, Created: now, Expires: now.Add(lifetime),
		From: r.From, Place: r.place(), Label: text.CleanName(r.Label),
	}
}

// newCodeGrant begins the life of a grant by an authorization request of a browser. Its
// user code is its id: it is never typed, and unique.
func newCodeGrant(now time.Time, r CodeRequest) *Grant {
	return &Grant{
		ID: r.ID, State: Pending, ClientID: r.ClientID, Created: now, Expires: now.Add(codeLifetime),
		UserCode: r.code(), Redirect: r.RedirectURI, Nonce: r.Nonce, Label: text.CleanName(r.Label),
	}
}

// Approve says yes for a person.
func (g *Grant) Approve(now time.Time, p *Person) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Approved)
	g.Person, g.Decided = p, now
	return nil
}

// Deny is a person's refusal. Who refused is in the audit log alone, not in the record.
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
// time had been short: it was not denied, and the device may begin again.
func (g *Grant) CrowdOut(now time.Time) error {
	if !g.Open(now) {
		return errDecided
	}
	g.enter(Denied)
	g.Ended, g.Reason = now, ReasonCrowdedOut
	return nil
}

// Redeem answers a poll (RFC 8628 §3.4–3.5). The order is the promise: a code
// that is not this client's says nothing, a replay is one whatever the clock
// says, and every end is told before the pace is looked at.
func (g *Grant) Redeem(now time.Time, r Redemption) error {
	if err := r.belongs(g); err != nil {
		return err
	}
	switch {
	case g.State == Revoked && g.Redeemed.IsZero():
		return errDenied // ended by its person before the device polled
	case g.State == Revoked:
		return errRedeemed
	case g.State == Active:
		if !withinGrace(now, g.Redeemed, replayGrace+1) { // the 30th second counts too
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
		return err // it decides nothing: what is put back into the configuration goes on
	}
	if g.State == Approved {
		return g.activate(now, r)
	}
	return errPending
}

// Exchange answers a program that presents its authorization code (RFC 6749 §4.1.3).
// A code is good once: a second use ends the grant, with what the first one was given.
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

// Reissue gives a program another authorization code in the place of one that was not
// used: its person allowed it a second time, and the first code may not have arrived.
func (g *Grant) Reissue(now time.Time, p *Person, code Digest) error {
	mine := g.State == Pending || g.State == Approved && g.Person.Subject == p.Subject
	if g.Redirect == "" || !mine || g.Expired(now) {
		return errDecided
	}
	g.Device = code
	g.Revision++
	return nil
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

// Redeliver gives out tokens that were made for this device code, and kept by a store
// that failed before it said so: the device heard 503, and asks again. It is one more
// change, so that what a device is handed is on the disk.
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

func (g *Grant) rotate(now time.Time, r Rotation) error {
	if err := r.check(g); err != nil {
		return err
	}
	next := *g.Refresh // a copy: the old record must stay as it was
	next.Previous, next.Current, next.Rotated = next.Current, r.Successor, now
	next.Idle = earlier(now.Add(r.Idle), next.Until)
	g.Refresh, g.Person = &next, r.Person
	if r.AccessUntil.After(g.AccessUntil) {
		g.AccessUntil = r.AccessUntil
	}
	g.enter(Active)
	return nil
}

// forgetCode leaves of a code that is spent what is shown to people later. A
// grant that is not redeemed keeps it for the minutes until it is forgotten.
func (g *Grant) forgetCode() {
	g.UserCode, g.Nonce = g.UserCode.tail(), ""
	if g.Person.Fresh != "" {
		p := *g.Person
		p.Fresh = ""
		g.Person = &p
	}
}

// Rename has the device's owner name it, as [text.CleanName] spells names; an empty
// one takes the name away. Only a connected device can be named.
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
