package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
	"github.com/deviceauth/caddy-deviceauth/internal/redistest"
)

func opened(t *testing.T, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func activeGrant() *deviceauth.Grant {
	g := storetest.NewGrant("BCDFGHJK")
	g.State, g.Redeemed = deviceauth.Active, g.Created
	g.Person = &deviceauth.Person{Subject: "work|1", Upstream: "work", User: "alice"}
	return g
}

func endIt(g *deviceauth.Grant) error { return g.Revoke(time.Now().UTC(), "test") }

// remembers returns when the store answers for a grant from its cache: without that,
// a test that the cache must not be used would prove nothing.
func remembers(t *testing.T, s *Store, g *deviceauth.Grant) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if _, err := s.Get(t.Context(), g.ID); err != nil {
			t.Fatal(err)
		}
		kept, fetch := s.changes.get(g.ID)
		if kept != nil {
			return
		}
		fetch.end()
		if time.Now().After(deadline) {
			t.Fatal("the grant is never kept in memory")
		}
	}
}

func TestGatewayHearsOfAnothersChange(t *testing.T) {
	t.Parallel()
	o := Options{URLs: []string{redistest.Start(t).URL()}}
	a, b := opened(t, o), opened(t, o)
	changed := make(chan deviceauth.ID, 8)
	a.OnChange(func(id deviceauth.ID) { changed <- id })
	g := activeGrant()
	if err := a.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	remembers(t, a, g)
	if err := b.Update(t.Context(), g.ID, endIt); err != nil {
		t.Fatal(err)
	}
	select {
	case id := <-changed:
		if id != g.ID {
			t.Errorf("heard of %v", id)
		}
	case <-time.After(time.Second):
		t.Error("nothing was heard within a second")
	}
	if got, err := a.Get(t.Context(), g.ID); err != nil || got.IsActive() {
		t.Errorf("after the news: %+v, %v", got, err)
	}
}

// A cached grant is not used while the server is silent, because the missing message
// may be the revocation of that grant.
func TestMemoryIsNotTrustedWhenTheServerIsSilent(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := opened(t, Options{URLs: []string{server.URL()}})
	g := activeGrant()
	if err := s.Create(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	for name, silence := range map[string]func(){"paused": server.Pause, "killed": server.Kill} {
		remembers(t, s, g)
		silence()
		began := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := s.Get(ctx, g.ID)
			cancel()
			if err != nil {
				break
			}
			if time.Since(began) > time.Second {
				t.Fatalf("%s: after a second the grant is still believed to be alive", name)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if name == "paused" {
			server.Resume()
		} else {
			server.Start()
		}
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := s.Get(t.Context(), g.ID); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("%s: it does not heal: %v", name, err)
			}
		}
	}
}
