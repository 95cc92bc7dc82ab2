package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// racers is the number of goroutines in a race: enough for the interleavings that
// stores usually get wrong, and few enough for the connection limit of a remote
// server.
const racers = 32

// errOnPurpose is the error of change functions that must fail. Stores must return
// exactly this value, see failedUpdateKeepsNothing.
var errOnPurpose = errors.New("on purpose")

// createdIsReturned reads a new grant back. It must be found by its id and, while it
// is pending, by its user code, with all fields unchanged: a field without a JSON
// name would be lost here.
func createdIsReturned(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	// Some stores decode the record in two places.
	byID, err := s.Get(ctx, g.ID)
	if err != nil {
		return err
	}
	byCode, err := s.ByUserCode(ctx, g.UserCode)
	if err != nil {
		return err
	}
	return errors.Join(same(byID, g), same(byCode, g))
}

// same compares grants by their JSON text, because equal copies may differ in
// pointers and time zones.
func same(got, want *deviceauth.Grant) error {
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		return fmt.Errorf("got  %s\nwant %s", a, b)
	}
	return nil
}

// missingIsNotFound expects ErrNotFound, which may be wrapped, for an unknown id and
// an unknown code. ByOwner is the exception: for an owner without grants it returns
// an empty list and no error.
func missingIsNotFound(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	_, byID := s.Get(ctx, g.ID)
	_, byCode := s.ByUserCode(ctx, g.UserCode)
	update := s.Update(ctx, g.ID, func(*deviceauth.Grant) error { return nil })
	list, err := s.ByOwner(ctx, "work|1")
	if len(list) > 0 || err != nil {
		return fmt.Errorf("ByOwner of nobody: %v, %v", list, err)
	}
	for _, err := range []error{byID, byCode, update} {
		if !errors.Is(err, deviceauth.ErrNotFound) {
			return fmt.Errorf("got %v, want ErrNotFound", err)
		}
	}
	return nil
}

// returnedIsACopy modifies grants after they were passed to or returned by a store.
// It covers the three ways in which a caller could share memory with the store: the
// grant passed to Create, one returned by Get, and the one that Update passes to its
// function.
func returnedIsACopy(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	// From here on the store's record must not change.
	g.ClientID = "changed by its creator"
	got, err := s.Get(ctx, g.ID)
	if err != nil {
		return err
	}
	got.ClientID = "changed by its reader"
	var leaked *deviceauth.Grant
	if err := s.Update(ctx, g.ID, func(g *deviceauth.Grant) error { leaked = g; return nil }); err != nil {
		return err
	}
	leaked.ClientID = "changed after its update"
	if got, err = s.Get(ctx, g.ID); err != nil || got.ClientID != "tv" {
		return fmt.Errorf("%v, %v: somebody else's change was kept", got, err)
	}
	return nil
}

// idIsTakenOnce expects ErrExists for a second grant with the same id. Ids are 128
// random bits, so this protects against a bug and not against chance.
func idIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g, other := NewGrant("BCDFGHJK"), NewGrant("LMNPQRST")
	// The user codes differ, so only the id can be the reason.
	other.ID = g.ID
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	return exists(s.Create(ctx, other))
}

// exists expects ErrExists, the only error of Create that callers handle: they try
// another code.
func exists(err error) error {
	if !errors.Is(err, deviceauth.ErrExists) {
		return fmt.Errorf("got %v, want ErrExists", err)
	}
	return nil
}

// race runs what in all goroutines and counts how often it succeeds. The goroutines
// wait for one channel, so that they start as simultaneously as the scheduler
// permits.
func race(what func(i int) error) (won int64, failures error) {
	var wg sync.WaitGroup
	var count atomic.Int64
	// Each goroutine writes to its own element, so no lock is needed.
	errs := make([]error, racers)
	gate := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-gate
			if errs[i] = what(i); errs[i] == nil {
				count.Add(1)
			}
		})
	}
	close(gate)
	wg.Wait()
	return count.Load(), errors.Join(errs...)
}

// updateIsKept reads an updated grant back. It is compared with the value at the end
// of the change function: Update must store what the function produced, not what it
// received.
func updateIsKept(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	var want deviceauth.Grant
	return first(
		func() error { return s.Create(ctx, g) },
		func() error {
			return s.Update(ctx, g.ID, func(g *deviceauth.Grant) error {
				err := g.Approve(time.Now().UTC().Round(0), person("work|1"))
				want = *g
				return err
			})
		},
		func() error {
			got, err := s.Get(ctx, g.ID)
			if err != nil {
				return err
			}
			return same(got, &want)
		},
	)
}

// failedUpdateKeepsNothing updates with a change function that fails. The record and
// its user code must be unchanged, and the error must be identical to the function's.
func failedUpdateKeepsNothing(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	// The function changes the grant before it fails, as a transition of the engine
	// may.
	err := s.Update(ctx, g.ID, func(g *deviceauth.Grant) error {
		g.Approve(time.Now(), person("work|1"))
		return errOnPurpose
	})
	if err != errOnPurpose {
		return fmt.Errorf("got %v, want the error of the change as it is", err)
	}
	got, err := s.Get(ctx, g.ID)
	if err != nil {
		return err
	}
	return errors.Join(same(got, g), holds(ctx, s, g))
}

// noUpdateIsLost expects concurrent updates of a grant to be applied one by one. Each
// goroutine increments Revision ten times. Gosched between reading and writing makes
// a lost update likely with a store that does not exclude it.
func noUpdateIsLost(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	const each = 10
	_, err := race(func(int) error {
		for range each {
			err := s.Update(ctx, g.ID, func(g *deviceauth.Grant) error {
				runtime.Gosched() // lets other goroutines in, if the store permits it
				g.Revision++
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if got, err := s.Get(ctx, g.ID); err != nil || got.Revision != racers*each {
		return fmt.Errorf("%v, %v: want %d changes", got, err, racers*each)
	}
	return nil
}

// subjectsAreApart expects exactly the grants of one person. One subject is a prefix
// of another, and the creation times are descending: the list must be exact and
// sorted by Created.
func subjectsAreApart(ctx context.Context, s deviceauth.Storage) error {
	subjects := []string{"work|1", "work|12", "work|1", "wor"}
	now := time.Now().UTC().Round(0) // one time for all, however slow the store is
	for i, subject := range subjects {
		g := NewGrant(deviceauth.UserCode(fmt.Sprintf("BCDFGHJ%d", i)))
		g.Created = now.Add(time.Duration(-i) * time.Second)
		if err := errors.Join(s.Create(ctx, g), s.Update(ctx, g.ID, approve(person(subject)))); err != nil {
			return err
		}
	}
	list, err := s.ByOwner(ctx, "work|1")
	if err != nil {
		return err
	}
	// The order is by Created and not by id, as on the page of connected devices.
	if len(list) != 2 || list[0].UserCode != "BCDFGHJ2" || list[1].UserCode != "BCDFGHJ0" {
		return fmt.Errorf("ByOwner: %v, want the two grants of work|1, the older one first", list)
	}
	return nil
}

// sessionsAreApart finds grants by their upstream session. The grants of an upstream
// session are found by its key, those without a session only by their subject; the
// same session id at another upstream is another session.
func sessionsAreApart(ctx context.Context, s deviceauth.Storage) error {
	for i, session := range []string{"a", "b", ""} {
		g, p := NewGrant(deviceauth.UserCode(fmt.Sprintf("BCDFGHJ%d", i))), person("work|1")
		p.Session = session
		if err := errors.Join(s.Create(ctx, g), s.Update(ctx, g.ID, approve(p))); err != nil {
			return err
		}
	}
	for owner, want := range map[string]int{"work|1": 3, deviceauth.SessionKey("work", "a"): 1,
		deviceauth.SessionKey("home", "a"): 0, "a": 0} {
		if list, err := s.ByOwner(ctx, owner); err != nil || len(list) != want {
			return fmt.Errorf("ByOwner of %q: %d grants, %v; want %d", owner, len(list), err, want)
		}
	}
	return nil
}

// recordIsKept reads a grant a second before it may be deleted. A record is kept
// longer than its code is valid: a late poll must get expired_token (RFC 8628 §3.5),
// and not that the code is unknown.
func recordIsKept(ctx context.Context, s deviceauth.Storage) error {
	return inTime(func(code deviceauth.UserCode) (deadline time.Time, err error) {
		g := NewGrant(code)
		g.Expires = g.Expires.Add(-time.Until(g.KeepUntil()) + 3*time.Second) // makes the test short
		if err := s.Create(ctx, g); err != nil {
			return g.KeepUntil(), err
		}
		time.Sleep(time.Until(g.KeepUntil()) - time.Second)
		if _, err := s.Get(ctx, g.ID); err != nil {
			return g.KeepUntil(), fmt.Errorf("before it may be forgotten: %w", err)
		}
		return g.KeepUntil(), nil
	})
}
