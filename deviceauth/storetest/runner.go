package storetest

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// A namedCheck is a [Check] or a [ClusterCheck] with the store that it runs on.
type namedCheck struct {
	name string
	on   func(ctx context.Context, dir string) error // dir is a new directory
}

// runInBubbles runs the checks one after the other, each in its own synctest bubble.
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

// runInRealTime runs the checks concurrently.
func runInRealTime(t *testing.T, checks []namedCheck) {
	for i, err := range failures(t, checks) {
		t.Run(strings.ReplaceAll(checks[i].name, " ", "_"), func(t *testing.T) {
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// failures runs all checks concurrently, since they wait most of their time. It
// returns an error or nil for each, in order.
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
