package deviceauth_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// protocol 41
func TestSessionEndsOnTheServer(t *testing.T) {
	in(t, func(w *world) {
		ctx, home, train := w.Context(), netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.9")
		p := person("alice", "alice@example.com", true)
		begin := func(from netip.Addr, before *deviceauth.Session) *deviceauth.Session {
			p.SignedIn = time.Now()
			s, err := w.BeginSession(ctx, p, from, before)
			if err != nil {
				w.Fatal(err)
			}
			return s
		}
		found := func(s *deviceauth.Session) bool {
			again, err := w.FindSession(ctx, s.ID)
			if err != nil || again != nil && again.Person.Subject != p.Subject {
				w.Fatal(again, err)
			}
			return again != nil
		}
		first := begin(home, nil)
		if !found(first) {
			w.Error("a session is not found")
		}
		w.wants("", w.CheckNetwork(first, home))
		w.wants("moved", w.CheckNetwork(first, train))

		// The same person signs in again elsewhere: both networks are known, and
		// the session before has ended.
		second := begin(train, first)
		if found(first) || !found(second) {
			w.Error("the session before goes on, or the new one does not")
		}
		for _, from := range []netip.Addr{home, train} {
			w.wants("", w.CheckNetwork(second, from))
		}

		other := begin(home, nil)
		if err := w.EndSession(ctx, second.ID); err != nil || found(second) || !found(other) {
			w.Error("signing out of one browser", err)
		}
		w.wants("", w.EndSessions(ctx, p.Subject, ""))
		_, err := w.Connections(ctx, other.Person)
		w.wants("signed_out", err)

		time.Sleep(12*time.Hour + time.Second)
		if found(other) {
			w.Error("a session goes on after its end")
		}
	})
}

// If the server does not know addresses, as behind a Unix socket, a session cannot
// move to another network.
func TestUnknownAddressHasNotMoved(t *testing.T) {
	in(t, func(w *world) {
		s, err := w.BeginSession(w.Context(), alice, netip.Addr{}, nil)
		w.wants("", err)
		w.wants("", w.CheckNetwork(s, netip.Addr{}))
		w.wants("moved", w.CheckNetwork(s, netip.MustParseAddr("203.0.113.8")))
	})
}

// A sign-out is remembered as long as any session that it ended could live,
// whatever the configuration is by then.
func TestSignOutIsRememberedUnderAShorterLifetime(t *testing.T) {
	in(t, func(w *world) {
		long, err := w.BeginSession(w.Context(), alice, netip.MustParseAddr("203.0.113.7"), nil)
		w.wants("", err)
		w.wants("", w.EndSessions(w.Context(), alice.Subject, ""))
		w.anew(func(c *deviceauth.Config) { c.Lifetime.Session = time.Second })
		time.Sleep(time.Hour)
		for i := range 1000 { // others in the same document
			w.wants("", w.EndSessions(w.Context(), fmt.Sprint("work|", i), ""))
		}
		_, err = w.Connections(w.Context(), long.Person)
		w.wants("signed_out", err)
	})
}

// A person who signed in by IPv4 and decides by IPv6 from the same home, or through a
// NAT64 translator, has not moved.
//
// protocol 41
func TestSessionStaysInItsNetworkOfTwoFamilies(t *testing.T) {
	in(t, func(w *world) {
		s, err := w.BeginSession(w.Context(), alice, netip.MustParseAddr("203.0.113.7"), nil)
		w.wants("", err)
		for _, from := range []string{"2001:db8:77:1::9", "64:ff9b::203.0.113.7", "2001:db8:64::203.0.113.7"} {
			w.wants("", w.CheckNetwork(s, netip.MustParseAddr(from)))
		}
		w.wants("moved", w.CheckNetwork(s, netip.MustParseAddr("64:ff9b::203.0.113.8")))
	}, func(c *deviceauth.Config) {
		c.JoinedNetworks = [][]netip.Prefix{prefixes("203.0.113.7/32", "2001:db8:77::/56")}
		c.NAT64 = prefixes("2001:db8:64::/96")
	})
}

// protocol 41
func TestEndedSessionsAreAnEvent(t *testing.T) {
	var events []deviceauth.Event
	in(t, func(w *world) {
		ctx, now := w.Context(), time.Now()
		w.wants("", w.EndSessions(ctx, alice.Subject, "root@gateway"))
		w.wants("", w.SignOut(ctx, deviceauth.SignOut{Upstream: "work", Subject: alice.Subject, At: now}))
		w.wants("", w.SignOut(ctx, deviceauth.SignOut{Upstream: "work", Session: "s1", At: now}))
		subject := &deviceauth.Person{Subject: alice.Subject}
		want := []deviceauth.Event{
			{By: "root@gateway", Reason: deviceauth.ReasonOperator, Person: subject},
			{Reason: deviceauth.ReasonSignedOut, Person: subject},
			{Reason: deviceauth.ReasonSignedOut, Person: &deviceauth.Person{}}, // of a session alone
		}
		for i := range want {
			want[i].Name, want[i].Upstream = deviceauth.EventSessionsEnded, "work"
		}
		if !reflect.DeepEqual(events, want) {
			t.Errorf("events %+v, want %+v", events, want)
		}
	}, func(c *deviceauth.Config) {
		c.Events = func(e deviceauth.Event) { events = append(events, e) }
	})
}
