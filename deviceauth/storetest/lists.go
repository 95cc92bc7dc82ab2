package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Checks of listing all grants.

// The number of grants is not a multiple of the page size, so the last page is a
// partial one.
const (
	listed   = 30
	pageSize = 4
)

// everyGrantIsListed follows the cursors through all pages while other grants are
// created. These may or may not appear, but none that existed at the beginning may be
// missing.
func everyGrantIsListed(ctx context.Context, s deviceauth.Storage) error {
	want, err := createSeveral(ctx, s)
	if err != nil {
		return err
	}
	// The new grants have other user codes, or Create would refuse them.
	got, err := pages(ctx, s, func(page int) error { // during the listing
		return s.Create(ctx, NewGrant(deviceauth.UserCode(fmt.Sprintf("LMNPQ%03d", page))))
	})
	if err != nil {
		return err
	}
	for id, g := range want {
		if got[id] == nil {
			return fmt.Errorf("%d grants are listed, and %v is not among them", len(got), id)
		}
		if err := same(got[id], g); err != nil {
			return err
		}
	}
	return nil
}

// createSeveral creates grants in different states. Every third one is approved,
// since decided grants have no user code and may be in another index.
func createSeveral(ctx context.Context, s deviceauth.Storage) (map[deviceauth.ID]*deviceauth.Grant, error) {
	all := map[deviceauth.ID]*deviceauth.Grant{}
	for i := range listed {
		g := NewGrant(deviceauth.UserCode(fmt.Sprintf("BCDFG%03d", i)))
		if err := s.Create(ctx, g); err != nil {
			return nil, err
		}
		if i%3 == 0 {
			approved := func(stored *deviceauth.Grant) error {
				err := approve(person("work|1"))(stored)
				*g = *stored
				return err
			}
			if err := s.Update(ctx, g.ID, approved); err != nil {
				return nil, err
			}
		}
		all[g.ID] = g
	}
	return all, nil
}

// pages lists all grants, and calls between after a page, though not after all of
// them. It follows the cursors without interpreting them, and fails if a page has a
// grant twice or the cursors never end.
func pages(ctx context.Context, s deviceauth.Storage,
	between func(page int) error) (map[deviceauth.ID]*deviceauth.Grant, error) {
	all, after := map[deviceauth.ID]*deviceauth.Grant{}, ""
	for page := range 10_000 { // a shared server may have many pages without our grants
		list, next, err := s.List(ctx, after, pageSize)
		if err != nil {
			return nil, err
		}
		here := map[deviceauth.ID]bool{}
		for _, g := range list {
			if here[g.ID] {
				return nil, fmt.Errorf("%v is twice in a page", g.ID)
			}
			all[g.ID], here[g.ID] = g, true
		}
		if next == "" {
			return all, nil
		}
		if page < listed {
			if err := between(page); err != nil {
				return nil, err
			}
		}
		after = next
	}
	return nil, errors.New("the listing never ends")
}

// emptyStoreListsNothing expects a single page without grants, and an empty cursor.
func emptyStoreListsNothing(ctx context.Context, s deviceauth.Storage) error {
	all, err := pages(ctx, s, func(int) error { return nil })
	if err != nil || len(all) > 0 {
		return fmt.Errorf("an empty store lists %d grants, %v", len(all), err)
	}
	return nil
}

// nonsenseIsNoCursor lists after cursors that were never returned. The texts are in
// the formats of this project's stores with a wrong part, like an old cursor in an
// operator's script. It expects [deviceauth.ErrCursor], which becomes a 400 instead
// of a fault.
func nonsenseIsNoCursor(ctx context.Context, s deviceauth.Storage) error {
	if err := s.Create(ctx, NewGrant("BCDFGHJK")); err != nil {
		return err
	}
	for _, after := range []string{"nonsense", " ", "0", "..", "0.0.0", "-1", "g", "\x00", "18446744073709551616",
		"AAAAAAAAAAAAAAAAAAAAAAA", "0123456789abcdef.0.0", "0123456789abcdef.-1.x"} {
		if list, next, err := s.List(ctx, after, pageSize); !errors.Is(err, deviceauth.ErrCursor) {
			return fmt.Errorf("after %q: %d grants, %q, %v; want ErrCursor", after, len(list), next, err)
		}
	}
	return nil
}
