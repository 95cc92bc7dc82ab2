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

// racers is how many goroutines a race has. Enough for every interleaving that
// a store usually gets wrong, and few enough for a remote server's connection
// limit.
const racers = 32

// errOnPurpose is what change functions return that are to fail. Stores have
// to return exactly this value, see failedUpdateKeepsNothing.
var errOnPurpose = errors.New("on purpose")

// createdIsReturned reads a new grant back. A grant has to be found by its id
// and, while it is pending, by its user code, with every field as it was: a
// field without a JSON name would be lost here.
func createdIsReturned(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	// Both ways lead to the same record: some stores decode it in two places.
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

// same compares grants by what they say. The comparison is of the JSON text,
// because pointers and time zones differ between copies that mean the same.
func same(got, want *deviceauth.Grant) error {
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		return fmt.Errorf("got  %s\nwant %s", a, b)
	}
	return nil
}

// missingIsNotFound wants ErrNotFound for an unknown id and an unknown code.
// The error may be wrapped. ByOwner is the exception: an owner without grants
// has an empty list and no error.
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

// returnedIsACopy writes to grants after they were given away. The three ways
// by which a caller could share memory with a store: the grant given to
// Create, one returned by Get, and the one that Update lends to its function.
func returnedIsACopy(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	// From here on the store's record must not change any more.
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

// idIsTakenOnce wants ErrExists for a second grant with one id. The ids are
// 128 random bits, so this protects against a bug and not against chance.
func idIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g, other := NewGrant("BCDFGHJK"), NewGrant("LMNPQRST")
	// The user codes differ, so only the id can be the reason for the refusal.
	other.ID = g.ID
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	return exists(s.Create(ctx, other))
}

// exists is the one error of Create that callers handle: they try another code.
func exists(err error) error {
	if !errors.Is(err, deviceauth.ErrExists) {
		return fmt.Errorf("got %v, want ErrExists", err)
	}
	return nil
}

// race runs what at once and counts how often it succeeded. All goroutines
// wait at one channel, so that they start as close together as the scheduler
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

// updateIsKept reads an updated grant back. The grant is compared with the
// value inside of the change function: what Update saves is what the function
// left, and not what it was given.
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

// failedUpdateKeepsNothing has a change function fail. The record and its user
// code have to be as before, and the error has to be identical to the one of
// the function.
func failedUpdateKeepsNothing(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	// The function changes the grant and refuses then, as a transition of the
	// engine may.
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

// noUpdateIsLost wants concurrent updates of one grant to be applied one by
// one. Each goroutine increments Revision ten times. Gosched between reading
// and writing makes a lost update likely where a store does not exclude it.
func noUpdateIsLost(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	const each = 10
	_, err := race(func(int) error {
		for range each {
			err := s.Update(ctx, g.ID, func(g *deviceauth.Grant) error {
				runtime.Gosched() // lets the others in, where a store lets them
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

// subjectsAreApart wants the grants of one person, and no others.
// One subject is a prefix of another, and the creation times are descending:
// the list has to be exact and sorted by Created.
func subjectsAreApart(ctx context.Context, s deviceauth.Storage) error {
	subjects := []string{"work|1", "work|12", "work|1", "wor"}
	for i, subject := range subjects {
		g := NewGrant(deviceauth.UserCode(fmt.Sprintf("BCDFGHJ%d", i)))
		g.Created = g.Created.Add(time.Duration(-i) * time.Second)
		if err := errors.Join(s.Create(ctx, g), s.Update(ctx, g.ID, approve(person(subject)))); err != nil {
			return err
		}
	}
	list, err := s.ByOwner(ctx, "work|1")
	if err != nil {
		return err
	}
	// The order is by Created and not by id, as the page of connections shows
	// it.
	if len(list) != 2 || list[0].UserCode != "BCDFGHJ2" || list[1].UserCode != "BCDFGHJ0" {
		return fmt.Errorf("ByOwner: %v, want the two grants of work|1, the older one first", list)
	}
	return nil
}

// sessionsAreApart looks grants up by their upstream session. The grants of
// one upstream session are found by its key, those without a session only by
// their subject; and the same session id of another upstream is another
// session.
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

// recordIsKept reads a grant a second before it may be forgotten. A record is kept
// longer than its code is good: a poll that comes late hears expired_token
// (RFC 8628 §3.5), and not that the code was never given.
func recordIsKept(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	g.Expires = g.Expires.Add(-time.Until(g.KeepUntil()) + 3*time.Second) // so that the test is short
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	time.Sleep(time.Until(g.KeepUntil()) - time.Second)
	if _, err := s.Get(ctx, g.ID); err != nil {
		return fmt.Errorf("before it may be forgotten: %w", err)
	}
	return nil
}
