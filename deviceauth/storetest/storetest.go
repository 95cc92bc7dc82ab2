// Package storetest tests the contract of a [deviceauth.Storage]. A store must pass
// all checks. A check returns an error instead of failing a test, so that the suite
// itself can be tested with stores that are broken on purpose.
//
// There are three lists of checks. [Checks] are for every storage, and run by [Run].
// [DurableChecks] are for a storage that keeps grants when it is closed, and run by
// [RunDurable]. [ClusterChecks] are for a storage that several gateways share, a
// [deviceauth.Cluster], and run by [RunCluster]. Each list comes with bugs that it
// must find, and a function that shows this with your store. For a storage that is
// reached over a network, which cannot run in a synctest bubble, use the functions
// that end in Outside.
package storetest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Open returns an empty store. The suite closes it. dir is a new directory for stores
// that use files, which is removed after the test; other stores ignore it. Each call
// must return a separate store without grants, even while others are open.
type Open func(dir string) (deviceauth.Storage, error)

// A Check tests one requirement. Name is a sentence, and the name of the subtest.
type Check struct {
	Name string
	run  func(context.Context, deviceauth.Storage) error
}

// Checks are all checks of a storage, in reading order: records, user codes, updates,
// owners, lists, documents. No check depends on another.
var Checks = []Check{
	{Name: "a created grant is returned whole", run: createdIsReturned},
	{Name: "what is not there is ErrNotFound", run: missingIsNotFound},
	{Name: "a returned grant is the caller's own", run: returnedIsACopy},
	{Name: "an id is taken once", run: idIsTakenOnce},
	{
		Name: "the id of a login in the browser is taken once, whatever became of it",
		run:  browserIDIsTakenOnce,
	},
	{Name: "an open user code is taken once", run: codeIsTakenOnce},
	{Name: "of many creates of one user code one succeeds", run: codeRaceHasOneWinner},
	{Name: "a decided grant frees its user code", run: decisionFreesCode},
	{Name: "a change without a decision keeps the user code", run: changeKeepsCode},
	{Name: "an expired grant frees its user code", run: expiryFreesCode},
	{Name: "a freed code belongs to the one who took it", run: freedCodeIsNotTakenBack},
	{Name: "an update is kept", run: updateIsKept},
	{Name: "an update that fails keeps nothing", run: failedUpdateKeepsNothing},
	{Name: "no update is lost", run: noUpdateIsLost},
	{Name: "a person's grants are found, and nobody else's", run: subjectsAreApart},
	{Name: "a person's grants are found by the session", run: sessionsAreApart},
	{Name: "every grant is listed, while others come", run: everyGrantIsListed},
	{Name: "an empty store lists nothing", run: emptyStoreListsNothing},
	{Name: "nonsense is no place to go on listing from", run: nonsenseIsNoCursor},
	{Name: "a document is changed atomically", run: documentChangesAreAtomic},
	{Name: "a look makes no document", run: lookingMakesNoDocument},
	{Name: "a document whose change fails is kept", run: failedDocumentIsKept},
	{Name: "a document is kept for a while", run: documentIsKeptForAWhile},
	{Name: "a record is kept until it may be forgotten", run: recordIsKept},
}

// Run runs the suite on a store, each check on a new one in its own synctest bubble.
// A closed store must leave no goroutines behind, or the bubble reports a deadlock.
// Time in a bubble advances only while all goroutines wait, so checks of expiry take
// no real time.
func Run(t *testing.T, open Open) { runInBubbles(t, checksOn(open)) }

// RunOutside runs the suite in real time, on a store that is reached over a network
// and so cannot run in a bubble. The checks wait for the store's clock; it takes
// about ten seconds.
func RunOutside(t *testing.T, open Open) { runInRealTime(t, checksOn(open)) }

// checksOn returns all Checks for a store.
func checksOn(open Open) (list []namedCheck) {
	for _, check := range Checks {
		on := func(ctx context.Context, dir string) error { return check.On(ctx, dir, open) }
		list = append(list, namedCheck{name: check.Name, on: on})
	}
	return list
}

// On runs the check on a store that it opens. It closes the store in any case, and an
// error of Close fails the check: a store that cannot be closed cleanly may lose what
// it has confirmed.
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

// NewGrant returns a new pending grant with all optional fields. Its lifetime is ten
// minutes, and its id and device digest are random; the times are in UTC and without
// a monotonic reading, as a store returns them.
func NewGrant(code deviceauth.UserCode) *deviceauth.Grant {
	now := time.Now().UTC().Round(0)
	g := &deviceauth.Grant{
		State: deviceauth.Pending, ClientID: "tv", UserCode: code, Scope: "openid read",
		Audience: []string{"https://api.example.com"},
		From:     netip.MustParseAddr("2001:db8::7"), Created: now, Expires: now.Add(10 * time.Minute),
	}
	// Read never returns an error: it ends the process instead (crypto/rand).
	rand.Read(g.ID[:])
	rand.Read(g.Device[:])
	return g
}

// person returns a person who can approve. The claims are a text, a list and a
// number, because JSON handles each differently.
func person(subject string) *deviceauth.Person {
	return &deviceauth.Person{
		Subject: subject, Upstream: "work", User: "alice", AuthTime: time.Unix(1_700_000_000, 0).UTC(),
		Withheld: []string{"roles"}, Claims: deviceauth.Claims{"name": "Alice Example", "groups": []any{"staff"},
			"updated_at": 12.5},
	}
}

// approve returns a step that approves a grant. It reads the clock when it runs,
// which may be later than when it was made.
func approve(p *deviceauth.Person) func(*deviceauth.Grant) error {
	return func(g *deviceauth.Grant) error { return g.Approve(time.Now().UTC().Round(0), p) }
}

// inTime runs a check of what holds until a deadline, which the check returns. A
// failure after the deadline says only that the machine was slow, so the check is
// repeated, with another code, up to three times.
func inTime(check func(deviceauth.UserCode) (deadline time.Time, err error)) error {
	var err error
	for _, code := range []deviceauth.UserCode{"BCDFGHJK", "BCDFGHJL", "BCDFGHJM"} {
		var deadline time.Time
		if deadline, err = check(code); err == nil || time.Now().Before(deadline) {
			break
		}
	}
	return err
}

// first runs steps until one fails. The error contains the number of the step, since
// checks repeat the same calls.
func first(steps ...func() error) error {
	for i, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	return nil
}
