package storetest_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

// counted is a storage of one's own: it keeps grants as another one does, and counts
// their changes.
type counted struct {
	deviceauth.Storage
	changes atomic.Int64
}

// Update implements [deviceauth.Store]. It has a mistake: the error of the change is
// kept from the storage below, which then saves what the change had done before it
// refused.
func (s *counted) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	s.changes.Add(1)
	var refused error
	err := s.Storage.Update(ctx, id, func(g *deviceauth.Grant) error {
		refused = change(g)
		return nil
	})
	if refused != nil {
		return refused
	}
	return err
}

// open opens a new, empty storage. One that keeps files has them in dir.
func open(string) (deviceauth.Storage, error) { return &counted{Storage: memstore.New()}, nil }

// A storage of one's own is checked by one line in a test, which makes a subtest of each
// check: storetest.Run(t, open). Here the promises about updates are looked at one by one.
func Example() {
	for _, check := range storetest.Checks {
		if !strings.Contains(check.Name, "update") {
			continue
		}
		verdict := "kept"
		if err := check.On(context.Background(), "", open); err != nil {
			verdict = "broken" // err says how
		}
		fmt.Printf("%s: %s\n", check.Name, verdict)
	}
	// Output:
	// an update is kept: kept
	// an update that fails keeps nothing: broken
	// no update is lost: kept
}
