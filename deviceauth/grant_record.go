package deviceauth

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Reasons why a grant ended.
const (
	ReasonReplay    = "replay"     // a used code or token was presented
	ReasonRevoked   = "revoked"    // the device or a person revoked it
	ReasonReported  = "reported"   // denied: the person reported that someone else sent the code
	ReasonBarred    = "barred"     // the person may no longer approve
	ReasonDisabled  = "disabled"   // the upstream no longer vouches for the person
	ReasonSignedOut = "signed_out" // the person signed out at the upstream
	ReasonOperator  = "operator"   // the operator ended it

	ReasonElsewhere  = "other_network" // the authorization code was presented from another network than the browser's
	ReasonCrowdedOut = "crowded_out"   // too many grants were pending
)

// CheckRecord returns an error if the record that a store has under an id cannot be
// that grant: after a disk fault or a manual change it may be JSON of another grant,
// or of none. Stores call it before they return a grant, so that the rules need not
// check.
func (g *Grant) CheckRecord(id ID) error {
	states := []State{Pending, Approved, Active, Denied, Revoked}
	switch {
	case g.ID != id:
		return errors.New("the record is that of another grant")
	case !slices.Contains(states, g.State):
		return fmt.Errorf("the record has the unknown state %q", g.State)
	case g.Person == nil && (g.State == Approved || g.State == Active):
		return fmt.Errorf("the record is %s and has no person", g.State)
	}
	return nil
}

// Refresh is the stored state of a grant's refresh tokens: two digests and their
// times. Older tokens need not be stored: any other token is a replay.
type Refresh struct {
	Current  Digest    `json:"current"`
	Previous Digest    `json:"previous,omitzero"`
	Rotated  time.Time `json:"rotated"`
	Idle     time.Time `json:"idle"`  // they expire at this time unless used before
	Until    time.Time `json:"until"` // they expire at this time in any case
}
