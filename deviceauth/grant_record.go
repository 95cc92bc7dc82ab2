package deviceauth

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Why a grant ended, where there is more to say than that it did.
const (
	ReasonReplay    = "replay"     // a spent code or token was presented
	ReasonRevoked   = "revoked"    // the device or a person asked for it
	ReasonReported  = "reported"   // denied: the person says that someone else sent the code
	ReasonBarred    = "barred"     // the person may no longer approve
	ReasonDisabled  = "disabled"   // the upstream no longer vouches for the person
	ReasonSignedOut = "signed_out" // the person signed out at the upstream
	ReasonOperator  = "operator"   // the operator ended it

	ReasonElsewhere  = "other_network" // the authorization code was presented in another network than the browser's
	ReasonCrowdedOut = "crowded_out"   // it waited where too many did, and gave way
)

// CheckRecord says why what a store has under an id cannot be that grant: a store
// whose disk or operator garbled it may hold JSON that is another one's, or none's.
// Stores ask before they return a grant, so that no rule has to.
func (g *Grant) CheckRecord(id ID) error {
	states := []State{Pending, Approved, Active, Denied, Revoked}
	switch {
	case g.ID != id:
		return errors.New("the record is that of another grant")
	case !slices.Contains(states, g.State):
		return fmt.Errorf("the record has the unknown state %q", g.State)
	case g.Person == nil && (g.State == Approved || g.State == Active):
		return fmt.Errorf("the record is %s by nobody", g.State)
	}
	return nil
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
