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

// racers is how many goroutines a race has.
const racers = 32

var errOnPurpose = errors.New("on purpose")

func createdIsReturned(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
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

// same compares grants by what they say.
func same(got, want *deviceauth.Grant) error {
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) {
		return fmt.Errorf("got  %s\nwant %s", a, b)
	}
	return nil
}

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

func returnedIsACopy(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
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

func idIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g, other := NewGrant("BCDFGHJK"), NewGrant("LMNPQRST")
	other.ID = g.ID
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	return exists(s.Create(ctx, other))
}

// browserIDIsTakenOnce posts the page of one authorization request many times at once,
// and then again: a grant that was decided must not begin anew.
func browserIDIsTakenOnce(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("")
	g.UserCode, g.Redirect, g.Nonce = deviceauth.UserCode(g.ID.String()), "http://127.0.0.1/callback", "n"
	allow := func() error {
		own := *g
		return first(
			func() error { return s.Create(ctx, &own) },
			func() error { return s.Update(ctx, g.ID, approve(person("work|1"))) },
		)
	}
	won, _ := race(func(int) error { return allow() })
	if won != 1 {
		return fmt.Errorf("%d of %d posts of one page were taken", won, racers)
	}
	if err := exists(s.Create(ctx, g)); err != nil {
		return fmt.Errorf("after the decision: %w", err)
	}
	got, err := s.Get(ctx, g.ID)
	if err != nil || got.State != deviceauth.Approved || got.Redirect != g.Redirect || got.Nonce != g.Nonce {
		return fmt.Errorf("got %+v, %w", got, err)
	}
	return nil
}

func exists(err error) error {
	if !errors.Is(err, deviceauth.ErrExists) {
		return fmt.Errorf("got %v, want ErrExists", err)
	}
	return nil
}

// race runs what at once and counts how often it succeeded.
func race(what func(i int) error) (won int64, failures error) {
	var wg sync.WaitGroup
	var count atomic.Int64
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

func failedUpdateKeepsNothing(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	if err := s.Create(ctx, g); err != nil {
		return err
	}
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
	if len(list) != 2 || list[0].UserCode != "BCDFGHJ2" || list[1].UserCode != "BCDFGHJ0" {
		return fmt.Errorf("ByOwner: %v, want the two grants of work|1, the older one first", list)
	}
	return nil
}

func sessionsAreApart(ctx context.Context, s deviceauth.Storage) error {
	for i, session := range []string{"a", "b", ""} {
		g, p := NewGrant(deviceauth.UserCode(fmt.Sprintf("BCDFGHJ%d", i))), person("work|1")
		p.Session = session
		if err := errors.Join(s.Create(ctx, g), s.Update(ctx, g.ID, approve(p))); err != nil {
			return err
		}
	}
	for owner, want := range map[string]int{"work|1": 3, deviceauth.SessionKey("work", "a"): 1, deviceauth.SessionKey("home", "a"): 0, "a": 0} {
		if list, err := s.ByOwner(ctx, owner); err != nil || len(list) != want {
			return fmt.Errorf("ByOwner of %q: %d grants, %v; want %d", owner, len(list), err, want)
		}
	}
	return nil
}

func recordIsKept(ctx context.Context, s deviceauth.Storage) error {
	g := NewGrant("BCDFGHJK")
	g.Expires = g.Expires.Add(-time.Until(g.KeepUntil()) + 3*time.Second) // so that nobody waits long
	if err := s.Create(ctx, g); err != nil {
		return err
	}
	time.Sleep(time.Until(g.KeepUntil()) - time.Second)
	if _, err := s.Get(ctx, g.ID); err != nil {
		return fmt.Errorf("before it may be forgotten: %w", err)
	}
	return nil
}
