package deviceauth

import (
	"errors"
	"time"
)

// A Redemption is a device's attempt to exchange its device code.
type Redemption struct {
	ClientID    string
	Device      Digest             // of the code presented
	Verifier    string             // the code_verifier presented
	Permitted   func(*Person) bool // may this person still approve?
	Entitled    Entitlement        // what the client may have now
	Resource    []string           // what this access token is to be good for; none: all
	AccessUntil time.Time          // end of the access token that stands ready
	Refresh     *Refresh           // what stands ready for offline_access, else nil
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
		return errDenied // somebody thought better of it before the device asked
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

// belongs refuses a code that is another client's, or not in the hands of
// whoever asked for it. That says nothing, and changes nothing.
func (r Redemption) belongs(g *Grant) error {
	switch {
	case g.ClientID != r.ClientID || !g.Device.equal(r.Device):
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
