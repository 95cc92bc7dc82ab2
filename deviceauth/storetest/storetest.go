// Package storetest says in tests what a [deviceauth.Backend] promises. It is
// one suite, not a menu: a store that fails one check is no store. A check
// returns what is wrong instead of failing a test, so that the suite itself
// can be tested on stores that are broken on purpose.
package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Open returns an empty store. The suite closes it.
type Open func(dir string) (deviceauth.Storage, error)

// A Check is one promise.
type Check struct {
	Name string
	run  func(context.Context, deviceauth.Storage) error
}

// Checks are all promises.
var Checks = []Check{
	{"a created grant is returned whole", createdIsReturned},
	{"what is not there is ErrNotFound", missingIsNotFound},
	{"a returned grant is the caller's own", returnedIsACopy},
	{"an id is taken once", idIsTakenOnce},
	{"the id of a login in the browser is taken once, whatever became of it", browserIDIsTakenOnce},
	{"an open user code is taken once", codeIsTakenOnce},
	{"of many creates of one user code one succeeds", codeRaceHasOneWinner},
	{"a decided grant frees its user code", decisionFreesCode},
	{"a change without a decision keeps the user code", changeKeepsCode},
	{"an expired grant frees its user code", expiryFreesCode},
	{"a freed code belongs to the one who took it", freedCodeIsNotTakenBack},
	{"an update is kept", updateIsKept},
	{"an update that fails keeps nothing", failedUpdateKeepsNothing},
	{"no update is lost", noUpdateIsLost},
	{"a person's grants are found, and nobody else's", subjectsAreApart},
	{"a person's grants are found by the session", sessionsAreApart},
	{"every grant is listed, while others come", everyGrantIsListed},
	{"an empty store lists nothing", emptyStoreListsNothing},
	{"nonsense is no place to go on listing from", nonsenseIsNoCursor},
	{"a document is changed atomically", documentChangesAreAtomic},
	{"a look makes no document", lookingMakesNoDocument},
	{"a document whose change fails is kept", failedDocumentIsKept},
	{"a document is kept for a while", documentIsKeptForAWhile},
	{"a record is kept until it may be forgotten", recordIsKept},
}

// Run runs the suite on a store, each check on a new one, in a bubble of its own time.
func Run(t *testing.T, open Open) {
	for _, check := range Checks {
		t.Run(strings.ReplaceAll(check.Name, " ", "_"), func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				if err := check.On(t.Context(), dir, open); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// RunOutside runs the suite on a store that is reached over a network, which no
// bubble reaches: it takes as long as it takes, some ten seconds.
func RunOutside(t *testing.T, open Open) {
	for i, err := range besides(t, open) {
		t.Run(strings.ReplaceAll(Checks[i].Name, " ", "_"), func(t *testing.T) {
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// besides runs all checks beside each other: most of their time is waiting.
func besides(t *testing.T, open Open) []error {
	failed := make([]error, len(Checks))
	var all sync.WaitGroup
	for i, check := range Checks {
		dir := t.TempDir()
		all.Go(func() { failed[i] = check.On(t.Context(), dir, open) })
	}
	all.Wait()
	return failed
}

// On runs the check on a store opened for it.
func (c Check) On(ctx context.Context, dir string, open Open) error {
	s, err := open(dir)
	if err != nil {
		return err
	}
	if err := c.run(ctx, s); err != nil {
		s.Close()
		return err
	}
	return s.Close()
}

// NewGrant returns a pending grant with everything that one can have, made now.
func NewGrant(code deviceauth.UserCode) *deviceauth.Grant {
	now := time.Now().UTC().Round(0)
	g := &deviceauth.Grant{
		State: deviceauth.Pending, ClientID: "tv", UserCode: code, Scope: "openid read", Audience: []string{"https://api.example.com"},
		From: netip.MustParseAddr("2001:db8::7"), Created: now, Expires: now.Add(10 * time.Minute),
	}
	rand.Read(g.ID[:])
	rand.Read(g.Device[:])
	return g
}

// person returns somebody who can approve.
func person(subject string) *deviceauth.Person {
	return &deviceauth.Person{
		Subject: subject, Upstream: "work", User: "alice", AuthTime: time.Unix(1_700_000_000, 0).UTC(),
		Withheld: []string{"roles"}, Claims: deviceauth.Claims{"name": "Alice Example", "groups": []any{"staff"}, "updated_at": 12.5},
	}
}

// approve is a step that says yes.
func approve(p *deviceauth.Person) func(*deviceauth.Grant) error {
	return func(g *deviceauth.Grant) error { return g.Approve(time.Now().UTC().Round(0), p) }
}

// first runs steps until one fails.
func first(steps ...func() error) error {
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}
