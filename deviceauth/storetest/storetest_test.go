package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
)

// A broken store is a good one with one mistake.
type broken struct {
	deviceauth.Backend
	create func(context.Context, deviceauth.Backend, *deviceauth.Grant) error
	update func(context.Context, deviceauth.Backend, deviceauth.ID, func(*deviceauth.Grant) error) error
	byCode func(context.Context, deviceauth.Backend, deviceauth.UserCode) (*deviceauth.Grant, error)
}

func (b broken) Create(ctx context.Context, g *deviceauth.Grant) error {
	if b.create != nil {
		return b.create(ctx, b.Backend, g)
	}
	return b.Backend.Create(ctx, g)
}

func (b broken) Update(ctx context.Context, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
	if b.update != nil {
		return b.update(ctx, b.Backend, id, change)
	}
	return b.Backend.Update(ctx, id, change)
}

func (b broken) ByUserCode(ctx context.Context, code deviceauth.UserCode) (*deviceauth.Grant, error) {
	if b.byCode != nil {
		return b.byCode(ctx, b.Backend, code)
	}
	return b.Backend.ByUserCode(ctx, code)
}

// put overwrites a grant, as a store without transactions would.
func put(ctx context.Context, s deviceauth.Backend, g *deviceauth.Grant) error {
	return s.Update(ctx, g.ID, func(stored *deviceauth.Grant) error { *stored = *g; return nil })
}

var errConflict = errors.New("conflict")

// TestSuiteCatchesBrokenStores breaks a store in the ways that stores break.
func TestSuiteCatchesBrokenStores(t *testing.T) {
	tests := []struct {
		name   string
		broken broken
	}{
		{"no conflict retry", broken{update: func(ctx context.Context, s deviceauth.Backend, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
			before, err := s.Get(ctx, id)
			if err != nil {
				return err
			}
			copied := *before
			if err := change(&copied); err != nil {
				return err
			}
			return s.Update(ctx, id, func(g *deviceauth.Grant) error {
				if g.Revision != before.Revision {
					return errConflict
				}
				*g = copied
				return nil
			})
		}}},
		{"lost update", broken{update: func(ctx context.Context, s deviceauth.Backend, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
			g, err := s.Get(ctx, id)
			if err != nil {
				return err
			}
			if err := change(g); err != nil {
				return err
			}
			return put(ctx, s, g)
		}}},
		{"saved despite error", broken{update: func(ctx context.Context, s deviceauth.Backend, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
			var verdict error
			err := s.Update(ctx, id, func(g *deviceauth.Grant) error { verdict = change(g); return nil })
			return errors.Join(err, verdict)
		}}},
		{"error of the change wrapped", broken{update: func(ctx context.Context, s deviceauth.Backend, id deviceauth.ID, change func(*deviceauth.Grant) error) error {
			if err := s.Update(ctx, id, change); err != nil {
				return errors.Join(err)
			}
			return nil
		}}},
		{"code index not freed", broken{create: codeNeverFreed()}},
		{"no uniqueness of the user code", broken{create: func(ctx context.Context, s deviceauth.Backend, g *deviceauth.Grant) error {
			other := *g
			other.UserCode += "X"
			if err := s.Create(ctx, &other); err != nil {
				return err
			}
			return put(ctx, s, g)
		}}},
		{"decided grant found by its code", broken{byCode: foundForEver()}},
		{"grant of the caller changed", broken{create: func(ctx context.Context, s deviceauth.Backend, g *deviceauth.Grant) error {
			g.ClientID += "!"
			return s.Create(ctx, g)
		}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test.broken.Backend = memstore.New()
				if caught(t, test.broken) == nil {
					t.Error("the suite finds nothing wrong")
				}
			})
		})
	}
}

// caught runs the suite and returns the names of the checks that failed.
func caught(t *testing.T, b broken) (names []string) {
	for _, check := range Checks {
		b.Backend = memstore.New()
		if err := check.On(t.Context(), "", func(string) (deviceauth.Backend, error) { return b, nil }); err != nil {
			names = append(names, check.Name)
		}
	}
	t.Logf("caught by: %q", names)
	return names
}

func codeNeverFreed() func(context.Context, deviceauth.Backend, *deviceauth.Grant) error {
	taken := map[deviceauth.Backend]map[deviceauth.UserCode]bool{}
	var mu sync.Mutex
	return func(ctx context.Context, s deviceauth.Backend, g *deviceauth.Grant) error {
		mu.Lock()
		defer mu.Unlock()
		if taken[s] == nil {
			taken[s] = map[deviceauth.UserCode]bool{}
		}
		if taken[s][g.UserCode] {
			return deviceauth.ErrExists
		}
		taken[s][g.UserCode] = true
		return s.Create(ctx, g)
	}
}

func foundForEver() func(context.Context, deviceauth.Backend, deviceauth.UserCode) (*deviceauth.Grant, error) {
	seen := map[deviceauth.UserCode]*deviceauth.Grant{}
	return func(ctx context.Context, s deviceauth.Backend, code deviceauth.UserCode) (*deviceauth.Grant, error) {
		g, err := s.ByUserCode(ctx, code)
		if err == nil {
			seen[code] = g
		}
		if g := seen[code]; g != nil {
			return g, nil
		}
		return nil, err
	}
}
