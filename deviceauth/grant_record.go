package deviceauth

import (
	"errors"
	"fmt"
	"slices"
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
