package badgerstore

import (
	"context"
	"fmt"
	"math"
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

// differentGrants returns grants that differ in everything that a bundle encodes.
func differentGrants() (list []*deviceauth.Grant) {
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

func TestBundleRoundTrips(t *testing.T) {
	t.Parallel()
	var all bundle
	var want []*deviceauth.Grant
	var last *request
	for _, g := range differentGrants() {
		one := &pendingGrant{compactGrant: newCompactGrant(g, last)}
		if one.full != nil {
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

// FuzzBundle checks that invalid bundles are errors, and never take more memory than their
// bytes justify.
func FuzzBundle(f *testing.F) {
	var all bundle
	for _, g := range differentGrants() {
		if one := (&pendingGrant{compactGrant: newCompactGrant(g, nil)}); one.full == nil {
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

func TestTruncatedBundleIsRefused(t *testing.T) {
	t.Parallel()
	var all bundle
	all.add(&pendingGrant{compactGrant: newCompactGrant(differentGrants()[6], nil)})
	for n := range all.value {
		if _, err := readBundle(all.value[:n]); err == nil && n != 1 {
			t.Errorf("the first %d of %d bytes are taken", n, len(all.value))
		}
	}
}

// create creates grants in a synctest bubble, and waits until they are written behind.
func create(t *testing.T, s *Store, list ...*deviceauth.Grant) {
	t.Helper()
	for _, g := range list {
		if err := s.Create(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
}

// reopenStore closes the store and opens its directory again.
func reopenStore(t *testing.T, s *Store, dir string) *Store {
	t.Helper()
	if err := s.closeWithin(0); err != nil {
		t.Fatal(err)
	}
	again, err := Open(Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	return again
}

func TestPendingGrantsAreTheSameAfterARestart(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		list := differentGrants()
		create(t, s, list...)
		s = reopenStore(t, s, dir)
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

// sameGrant compares grants as their JSON would, in which a nil audience equals an empty
// one.
func sameGrant(a, b *deviceauth.Grant) bool {
	x, y := *a, *b
	if len(x.Audience) == 0 && len(y.Audience) == 0 {
		x.Audience, y.Audience = nil, nil
	}
	return reflect.DeepEqual(x, y)
}

// A bundle outlives the decision on one of its grants, even over two restarts.
func TestDecidedGrantDoesNotComeBackFromItsBundle(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		denied, pending := storetest.NewGrant("BCDFGHJK"), storetest.NewGrant("LMNPQRST")
		create(t, s, denied, pending)
		deny := func(g *deviceauth.Grant) error { return g.Deny(time.Now(), "") }
		for range 2 {
			s = reopenStore(t, s, dir)
			if err := s.Update(t.Context(), denied.ID, deny); err != nil {
				t.Fatal(err)
			}
			deny = func(*deviceauth.Grant) error { return nil }
			s = reopenStore(t, s, dir)
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

// A user code is free when it has expired; the grant that had it is still found for a
// while.
func TestCodeOfAnExpiredGrantIsGivenAgainAfterARestart(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		old := storetest.NewGrant("BCDFGHJK")
		create(t, s, old)
		time.Sleep(time.Until(old.Expires) + 3*time.Second)
		young := storetest.NewGrant("BCDFGHJK")
		create(t, s, young)
		s = reopenStore(t, s, dir)
		if g, err := s.ByUserCode(t.Context(), "BCDFGHJK"); err != nil || g.ID != young.ID {
			t.Errorf("by the code: %+v, %v", g, err)
		}
		if g, err := s.Get(t.Context(), old.ID); err != nil || g.State != deviceauth.Pending {
			t.Errorf("the expired grant: %+v, %v", g, err)
		}
	})
}

// Many grants in bundles are looked up in another way than few.
func TestDecidedGrantsAreFoundAmongMany(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		var list []*deviceauth.Grant
		for i := range fewGrants + 1 {
			g := storetest.NewGrant(deviceauth.UserCode(fmt.Sprintf("%08d", i)))
			list = append(list, g)
		}
		create(t, s, list...)
		denied := list[1234]
		deny := func(g *deviceauth.Grant) error { return g.Deny(time.Now(), "") }
		if err := s.Update(t.Context(), denied.ID, deny); err != nil {
			t.Fatal(err)
		}
		s = reopenStore(t, s, dir)
		if n := len(s.pending.snapshot()); n != fewGrants {
			t.Errorf("%d are in memory, want %d", n, fewGrants)
		}
		if g, err := s.Get(t.Context(), denied.ID); err != nil || g.State != deviceauth.Denied {
			t.Errorf("the denied grant: %+v, %v", g, err)
		}
	})
}

// A decided grant had its code until another grant with a shorter lifetime got it.
func TestCodeOfADecidedGrantIsTheNextGrantsAfterARestart(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		first, next := storetest.NewGrant("BCDFGHJK"), storetest.NewGrant("BCDFGHJK")
		first.Expires = first.Expires.Add(time.Hour)
		deny := func(g *deviceauth.Grant) error { return g.Deny(time.Now(), "") }
		create(t, s, first)
		if err := s.Update(t.Context(), first.ID, deny); err != nil {
			t.Fatal(err)
		}
		create(t, s, next)
		s = reopenStore(t, s, dir)
		if g, err := s.ByUserCode(t.Context(), "BCDFGHJK"); err != nil || g.ID != next.ID {
			t.Errorf("by the code: %+v, %v; want the grant that waits", g, err)
		}
	})
}

// Expired grants leave memory even if no new grant comes.
func TestExpiredGrantsLeaveMemoryWithoutNewGrants(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, s *Store) {
		g := storetest.NewGrant("BCDFGHJK")
		create(t, s, g)
		time.Sleep(time.Until(g.KeepUntil()) + time.Minute)
		synctest.Wait()
		if n := len(s.pending.snapshot()); n != 0 {
			t.Errorf("%d are in memory", n)
		}
	})
}

func TestBundleWithAGrantThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*compactGrant){
		"it never expires":             func(c *compactGrant) { c.expires = math.MinInt64 },
		"it expires before it is made": func(c *compactGrant) { c.expires = c.created - 1 },
		"an unknown kind of address":   func(c *compactGrant) { c.family = ipv6 + 1 },
		"a place beyond the text":      func(c *compactGrant) { c.place = 1000 },
	} {
		c := newCompactGrant(differentGrants()[0], nil)
		change(&c)
		var all bundle
		all.add(&pendingGrant{compactGrant: c})
		if _, err := readBundle(all.value); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// The memory limit counts even what grants could share and do not.
func TestSizeCountsClientScopeAndAudience(t *testing.T) {
	t.Parallel()
	usual := newCompactGrant(storetest.NewGrant("BCDFGHJK"), nil)
	for name, change := range map[string]func(*deviceauth.Grant){
		"client":   func(g *deviceauth.Grant) { g.ClientID += strings.Repeat("x", 300) },
		"scope":    func(g *deviceauth.Grant) { g.Scope += deviceauth.Scope(strings.Repeat("x", 300)) },
		"audience": func(g *deviceauth.Grant) { g.Audience = []string{strings.Repeat("x", 400)} },
	} {
		g := storetest.NewGrant("BCDFGHJK")
		change(g)
		if c := newCompactGrant(g, nil); c.size() < usual.size()+300 {
			t.Errorf("with a long %s it counts %d bytes, else %d", name, c.size(), usual.size())
		}
	}
}

// A damaged bundle loses its grants, whose devices need another code, and nothing else.
func TestDamagedBundleKeepsNoStoreFromOpening(t *testing.T) {
	t.Parallel()
	inBubbleAt(t, func(t *testing.T, s *Store, dir string) {
		g := storetest.NewGrant("BCDFGHJK")
		create(t, s, g)
		bad := newEntry(bundleKey(storetest.NewGrant("x").ID), []byte{bundleFormat, 1, 200}, expirySecond(g.Expires))
		if err := s.db.Update(func(txn *badger.Txn) error { return txn.SetEntry(bad) }); err != nil {
			t.Fatal(err)
		}
		s = reopenStore(t, s, dir)
		if _, err := s.Get(context.Background(), g.ID); err != nil {
			t.Errorf("a grant of another bundle: %v", err)
		}
	})
}
