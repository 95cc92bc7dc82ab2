package bounded

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/memstore"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

func newBounded(store deviceauth.Storage, deadline <-chan struct{}) deviceauth.Storage {
	return (&Store{opened: store, deadline: deadline, unwatch: func() {}}).Storage(nil)
}

func TestBoundedStorageKeepsTheContract(t *testing.T) {
	storetest.Run(t, func(string) (deviceauth.Storage, error) { return newBounded(memstore.New(), nil), nil })
}

// The storage is not a second handle of the Store: what its users close is the opened
// store, and they can neither begin nor end uses.
func TestStorageHasOnlyTheMethodsOfAStorage(t *testing.T) {
	t.Parallel()
	opened := closes{Store: memstore.New(), closed: make(chan struct{})}
	s := &Store{opened: opened, unwatch: func() { t.Error("the Store was closed") }}
	storage := s.Storage(nil)
	if _, ok := storage.(interface{ BeginUse() bool }); ok {
		t.Error("a storage has BeginUse")
	}
	if err := storage.Close(); err != nil {
		t.Error(err)
	}
	<-opened.closed
	if !s.BeginUse() {
		t.Error("the Store is locked")
	}
}

func TestOperationsAreMeasured(t *testing.T) {
	t.Parallel()
	var measured []string
	observe := func(operation Operation, took time.Duration) { measured = append(measured, Operations()[operation]) }
	s := (&Store{opened: memstore.New(), unwatch: func() {}}).Storage(observe)
	g := storetest.NewGrant("BCDFGHJK")
	unchanged := func(old []byte) ([]byte, error) { return old, nil }
	err := errors.Join(s.Create(t.Context(), g),
		s.Update(t.Context(), g.ID, func(*deviceauth.Grant) error { return nil }),
		s.PutDocument(t.Context(), "x", nil, time.Now()), s.UpdateDocument(t.Context(), "x", unchanged))
	if err != nil {
		t.Error(err)
	}
	s.Get(t.Context(), g.ID)
	s.ByUserCode(t.Context(), g.UserCode)
	s.ByOwner(t.Context(), "x")
	s.List(t.Context(), "", 1)
	s.LoadDocument(t.Context(), "x")
	all := slices.Sorted(slices.Values(Operations()))
	if slices.Sort(measured); !slices.Equal(measured, all) {
		t.Errorf("%v is measured, want %v", measured, all)
	}
}

// hanging is a store that hangs between read and write, or panics.
type hanging struct {
	deviceauth.Storage
	goesOn chan struct{}
}

func (s *hanging) UpdateDocument(ctx context.Context, name string, change func([]byte) ([]byte, error)) error {
	<-s.goesOn
	return s.Storage.UpdateDocument(ctx, name, change)
}

func (s *hanging) LoadDocument(context.Context, string) ([]byte, error) { panic("no table") }

// A caller that abandoned its call may use its variables again, so nothing may
// be called back any more.
func TestAbandonedCallRunsNoCallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var exiting atomic.Bool
		deadline, stop := watchExit(exiting.Load)
		defer stop()
		time.Sleep(time.Hour)
		store := memstore.New()
		hangs := &hanging{Storage: store, goesOn: make(chan struct{})}
		exiting.Store(true)
		since := time.Now()
		calls := 0 // the race detector looks at it, too
		err := newBounded(hangs, deadline).UpdateDocument(t.Context(), "x", func([]byte) ([]byte, error) {
			calls++
			return []byte("changed"), nil
		})
		if !errors.Is(err, errAbandoned) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(since); took < exitTimeout || took > time.Second {
			t.Errorf("it took %v", took)
		}
		calls++
		close(hangs.goesOn)
		synctest.Wait()
		if document, err := store.LoadDocument(t.Context(), "x"); document != nil || err != nil || calls != 1 {
			t.Errorf("%d calls, and then %q, %v", calls, document, err)
		}
	})
}

// net/http recovers a panic of a request, but not one in a goroutine of the
// store's.
func TestStoreThatPanicsIsAFault(t *testing.T) {
	_, err := newBounded(&hanging{}, nil).LoadDocument(t.Context(), "x")
	if err == nil || !strings.Contains(err.Error(), "no table") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkBoundedGet(b *testing.B) {
	s := memstore.New()
	g := storetest.NewGrant("BCDFGHJK")
	if err := s.Create(b.Context(), g); err != nil {
		b.Fatal(err)
	}
	bounded := newBounded(s, make(chan struct{}))
	for name, store := range map[string]deviceauth.Store{"direct": s, "bounded": bounded} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				store.Get(b.Context(), g.ID)
			}
		})
	}
}

// closes is a store that reports when it was closed.
type closes struct {
	*memstore.Store
	closed chan struct{}
}

func (c closes) Close() error {
	close(c.closed)
	return c.Store.Close()
}

func TestEndlessRequestDoesNotDelayAStop(t *testing.T) {
	t.Parallel()
	store := closes{Store: memstore.New(), closed: make(chan struct{})}
	s := &Store{opened: store, unwatch: func() {}}
	if !s.BeginUse() {
		t.Fatal("it is closed")
	}
	since := time.Now()
	if err := s.Close(); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
	if took := time.Since(since); took > closeWait+time.Second {
		t.Errorf("it took %v", took)
	}
	if s.BeginUse() {
		t.Error("another request uses the closing store")
	}
	select {
	case <-store.closed:
		t.Error("the store was closed under the request")
	default:
	}
	s.EndUse()
	<-store.closed // when the request has ended after all
}
