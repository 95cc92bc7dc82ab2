package badgerstore

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/storetest"
)

// variety are grants that differ in all that a bundle writes.
func variety() (list []*deviceauth.Grant) {
	for i, change := range []func(*deviceauth.Grant){
		func(*deviceauth.Grant) {},
		func(g *deviceauth.Grant) { g.ClientID, g.Scope, g.Audience = "other", "", nil },
		func(g *deviceauth.Grant) { g.Audience = []string{} },
		func(g *deviceauth.Grant) { g.Audience = []string{"https://a.example", "", "https://b.example"} },
		func(g *deviceauth.Grant) { g.From = netip.Addr{} },
		func(g *deviceauth.Grant) { g.From = netip.MustParseAddr("2001:db8::1") },
		func(g *deviceauth.Grant) { g.Place, g.Label = "Köln, Germany", "living room" },
		func(g *deviceauth.Grant) { g.Challenge[3], g.Device[7] = 1, 2 },
		func(g *deviceauth.Grant) { g.Label = strings.Repeat("long ", 400) }, // gets a record of its own
	} {
		g := storetest.NewGrant(deviceauth.UserCode(fmt.Sprintf("BCDF%04d", i)))
		change(g)
		list = append(list, g)
	}
	return list
}

func TestBundleHoldsWhatWasWritten(t *testing.T) {
	t.Parallel()
	var all bundle
	var want []*deviceauth.Grant
	var last *request
	for _, g := range variety() {
		one := &pendingGrant{compact: compacted(g, last)}
		if one.whole != nil {
			continue
		}
		last = one.shared
		all.add(one)
		want = append(want, g)
	}
	grants, err := readBundle(all.value)
	if err != nil || len(grants) != len(want) {
		t.Fatalf("%d grants, %v; want %d", len(grants), err, len(want))
	}
	for i, c := range grants {
		if got := c.grant(); !reflect.DeepEqual(got, want[i]) {
			t.Errorf("got  %+v\nwant %+v", got, want[i])
		}
	}
}

// FuzzBundle wants an error of what is no bundle, and never more memory than it has bytes
// for.
func FuzzBundle(f *testing.F) {
	var all bundle
	for _, g := range variety() {
		if one := (&pendingGrant{compact: compacted(g, nil)}); one.whole == nil {
			all.add(one)
		}
	}
	f.Add(all.value)
	f.Add([]byte{bundleFormat})
	f.Add([]byte{bundleFormat + 1})
	f.Add(slices.Concat(all.value[:1], []byte{1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1}))
	f.Fuzz(func(t *testing.T, value []byte) {
		grants, err := readBundle(value)
		if err != nil {
			return
		}
		for _, c := range grants {
			if g := c.grant(); g.State != deviceauth.Pending {
				t.Errorf("%+v", g)
			}
		}
	})
}

func TestEveryCutOfABundleIsRefused(t *testing.T) {
	t.Parallel()
	var all bundle
	all.add(&pendingGrant{compact: compacted(variety()[6], nil)})
	for n := range all.value {
		if _, err := readBundle(all.value[:n]); err == nil && n != 1 {
			t.Errorf("the first %d of %d bytes are taken", n, len(all.value))
		}
	}
}

// restarted closes the store and opens its directory once more.
func restarted(t *testing.T, s *Store) *Store {
	t.Helper()
	if err := s.closeWhole(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Options{Dir: s.dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func TestPendingGrantsAreTheSameAfterARestart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		list := variety()
		for _, g := range list {
			if err := s.Create(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(writeDelay)
		synctest.Wait()
		s = restarted(t, s)
		for _, want := range list {
			got, err := s.ByUserCode(t.Context(), want.UserCode)
			if err != nil || !sameGrant(got, want) {
				t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
			}
		}
		if all, _, err := s.List(t.Context(), "", 100); err != nil || len(all) != len(list) {
			t.Errorf("%d are listed, %v; want %d", len(all), err, len(list))
		}
	})
}

// sameGrant compares by the JSON that a store keeps, in which nil is as good as empty.
func sameGrant(a, b *deviceauth.Grant) bool {
	x, y := *a, *b
	if len(x.Audience) == 0 && len(y.Audience) == 0 {
		x.Audience, y.Audience = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// A bundle outlives the decision on one of its grants, also over two restarts.
func TestDecidedGrantDoesNotComeBackFromItsBundle(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		denied, pending := storetest.NewGrant("BCDFGHJK"), storetest.NewGrant("LMNPQRST")
		for _, g := range []*deviceauth.Grant{denied, pending} {
			if err := s.Create(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(writeDelay)
		synctest.Wait()
		deny := func(g *deviceauth.Grant) error { return g.Deny(time.Now(), "") }
		for range 2 {
			s = restarted(t, s)
			if err := s.Update(t.Context(), denied.ID, deny); err != nil {
				t.Fatal(err)
			}
			deny = func(*deviceauth.Grant) error { return nil }
			s = restarted(t, s)
			if g, err := s.Get(t.Context(), denied.ID); err != nil || g.State != deviceauth.Denied {
				t.Errorf("the denied grant: %+v, %v", g, err)
			}
			if _, err := s.ByUserCode(t.Context(), denied.UserCode); err == nil {
				t.Error("the code of the denied grant asks once more")
			}
			if g, err := s.ByUserCode(t.Context(), pending.UserCode); err != nil || g.ID != pending.ID {
				t.Errorf("the pending grant: %+v, %v", g, err)
			}
		}
	})
}

// A user code is free when it has expired; the grant that had it hears so for a while.
func TestCodeOfAnExpiredGrantIsGivenAgainAfterARestart(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		old := storetest.NewGrant("BCDFGHJK")
		if err := s.Create(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(old.Expires) + 3*time.Second)
		young := storetest.NewGrant("BCDFGHJK")
		if err := s.Create(t.Context(), young); err != nil {
			t.Fatal(err)
		}
		s = restarted(t, s)
		if g, err := s.ByUserCode(t.Context(), "BCDFGHJK"); err != nil || g.ID != young.ID {
			t.Errorf("by the code: %+v, %v", g, err)
		}
		if g, err := s.Get(t.Context(), old.ID); err != nil || g.State != deviceauth.Pending {
			t.Errorf("the expired grant: %+v, %v", g, err)
		}
	})
}

// What a damaged bundle held is lost, which costs devices another code, and no more.
func TestDamagedBundleKeepsNoStoreFromOpening(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		g := storetest.NewGrant("BCDFGHJK")
		if err := s.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		bad := entry(bundleKey(storetest.NewGrant("x").ID), []byte{bundleFormat, 1, 200}, second(g.Expires))
		if err := s.db.Load().Update(func(txn *badger.Txn) error { return txn.SetEntry(bad) }); err != nil {
			t.Fatal(err)
		}
		s = restarted(t, s)
		if _, err := s.Get(context.Background(), g.ID); err != nil {
			t.Errorf("a grant of another bundle: %v", err)
		}
	})
}

// Among the first grants of the bundles or behind many others, a record is found.
func TestOwnRecordIsFoundAmongFewAndMany(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		decided, pending := storetest.NewGrant("BCDFGHJK"), storetest.NewGrant("LMNPQRST")
		if err := s.put(t.Context(), decided); err != nil {
			t.Fatal(err)
		}
		if err := s.Create(t.Context(), pending); err != nil {
			t.Fatal(err)
		}
		for _, asked := range []int{0, fewRecords} {
			err := s.view(func(txn *badger.Txn) error {
				own := ownRecords{txn: txn, asked: asked}
				for g, want := range map[*deviceauth.Grant]bool{decided: true, pending: false} {
					if found, err := own.has(g.ID); found != want || err != nil {
						t.Errorf("after %d others: found %v, %v; want %v", asked, found, err, want)
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}
