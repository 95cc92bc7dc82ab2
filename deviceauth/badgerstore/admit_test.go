package badgerstore

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

// admitting asks Admit before Create, as a caller that must not wait does, with a disk that
// has just accepted grants.
type admitting struct {
	*Store
	admitted *atomic.Int64
}

func (a admitting) Create(ctx context.Context, g *deviceauth.Grant) error {
	a.pending.lastWrite.Store(time.Now().UnixNano())
	if done, err := a.Admit(g); done {
		a.admitted.Add(1)
		return err
	}
	return a.Store.Create(ctx, g)
}

func TestStoreThatAdmitsConforms(t *testing.T) {
	t.Parallel()
	var admitted atomic.Int64
	t.Run("checks", func(t *testing.T) {
		storetest.Run(t, func(dir string) (deviceauth.Storage, error) {
			s, err := Open(Options{Dir: dir})
			if err != nil {
				return nil, err
			}
			return admitting{Store: s, admitted: &admitted}, nil
		})
	})
	if admitted.Load() == 0 {
		t.Error("no grant was admitted")
	}
}

// Admit returns false whenever only Create can decide about a grant.
func TestGrantThatHasToWaitIsNotAdmitted(t *testing.T) {
	t.Parallel()
	approved := storetest.NewGrant("BCDFGHJK")
	approved.State = deviceauth.Approved
	browser := storetest.NewGrant("BCDFGHJK")
	browser.Redirect = "http://127.0.0.1/callback"
	for _, test := range []struct {
		name   string
		grant  *deviceauth.Grant
		change func(*Store)
	}{
		{"a disk that was not looked at", nil, func(s *Store) { s.pending.lastWrite.Store(0) }},
		{"codes of a process before", nil, func(s *Store) { s.pending.noteCodesOnDisk(1 << 40) }},
		{"a committer that is behind", nil, func(s *Store) { s.pending.queueBytes = maxQueueBytes + 1 }},
		{"a disk that takes nothing", nil, func(s *Store) { s.pending.writeErr = errors.New("no") }},
		{"a store that is closed", nil, func(s *Store) { s.pending.closed = true }},
		{"a grant that is decided", approved, func(*Store) {}},
		{"a login in the browser", browser, func(*Store) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &Store{pending: newPendingGrants()}
			s.pending.lastWrite.Store(time.Now().UnixNano())
			test.change(s)
			g := test.grant
			if g == nil {
				g = storetest.NewGrant("BCDFGHJK")
			}
			if done, err := s.Admit(g); done || err != nil {
				t.Errorf("%v, %v", done, err)
			}
		})
	}
}
