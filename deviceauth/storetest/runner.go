package storetest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// A namedCheck is a [Check] or a [ClusterCheck] with what it is to be run on.
type namedCheck struct {
	name string
	on   func(ctx context.Context, dir string) error // dir is a new directory
}

// runInBubbles runs the checks one after the other, each in a bubble of its own time.
func runInBubbles(t *testing.T, checks []namedCheck) {
	for _, check := range checks {
		t.Run(strings.ReplaceAll(check.name, " ", "_"), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				if err := check.on(t.Context(), dir); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// runInRealTime runs the checks all at once.
func runInRealTime(t *testing.T, checks []namedCheck) {
	for i, err := range failures(t, checks) {
		t.Run(strings.ReplaceAll(checks[i].name, " ", "_"), func(t *testing.T) {
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// failures runs all checks beside each other, since they wait most of their time. The
// result has an error or nil for each, in their order.
func failures(t *testing.T, checks []namedCheck) []error {
	failed := make([]error, len(checks))
	var all sync.WaitGroup
	for i, check := range checks {
		dir := t.TempDir()
		all.Go(func() { failed[i] = check.on(t.Context(), dir) })
	}
	all.Wait()
	return failed
}
