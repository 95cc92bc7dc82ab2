package storetest

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// RunBugs fails unless the suite catches every bug on a store. The checks run
// against each bug until one catches it, each time on a new store in a bubble of its own, so
// it takes a store that opens fast. The log says which check caught the bug.
func RunBugs(t *testing.T, open Open) {
	for _, bug := range Bugs {
		t.Run(strings.ReplaceAll(bug.Name, " ", "_"), func(t *testing.T) {
			caught := make([]error, len(Checks))
			for i, check := range Checks {
				dir := t.TempDir()
				synctest.Test(t, func(t *testing.T) { caught[i] = check.On(t.Context(), dir, bug.on(open)) })
				if caught[i] != nil {
					break // one check is enough
				}
			}
			bug.report(t, caught)
		})
	}
}

// RunBugsOutside is like RunBugs in real time, as with [RunOutside]. All bugs run
// concurrently, because nearly all of their time is waiting for expiry.
func RunBugsOutside(t *testing.T, open Open) {
	caught := make([][]error, len(Bugs))
	var all sync.WaitGroup
	for i, bug := range Bugs {
		all.Go(func() { caught[i] = failures(t, checksOn(bug.on(open))) })
	}
	all.Wait()
	for i, bug := range Bugs {
		t.Run(strings.ReplaceAll(bug.Name, " ", "_"), func(t *testing.T) { bug.report(t, caught[i]) })
	}
}

// report fails the test if no check failed. One failed check is enough; which one it
// is may change with the suite.
func (b Bug) report(t *testing.T, caught []error) {
	var names []string
	for i, err := range caught {
		if err != nil {
			names = append(names, Checks[i].Name)
		}
	}
	if t.Logf("caught by: %q", names); len(names) == 0 {
		t.Error("the suite finds nothing wrong")
	}
}

// on returns an Open whose stores have the bug. The correct store is opened anew for
// each check, and closed through the broken one.
func (b Bug) on(open Open) Open {
	return func(dir string) (deviceauth.Storage, error) {
		good, err := open(dir)
		if err != nil {
			return nil, err
		}
		bad := &broken{Storage: good}
		b.put(bad)
		return bad, nil
	}
}
