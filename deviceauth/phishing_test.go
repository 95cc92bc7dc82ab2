package deviceauth_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

func TestNetworkPolicy(t *testing.T) {
	tests := []struct {
		name      string
		policy    deviceauth.Network
		from      netip.Addr
		confirmed bool
		want      string
	}{
		{"the same network", deviceauth.NetworkRequire, here, false, ""},
		{"another, off", deviceauth.NetworkOff, away, false, ""},
		{"another, warn", deviceauth.NetworkWarn, away, false, "unconfirmed"},
		{"another, warn, confirmed", deviceauth.NetworkWarn, away, true, ""},
		{"another, require", deviceauth.NetworkRequire, away, true, "other_network"},
		{"none known, require", deviceauth.NetworkRequire, netip.Addr{}, true, "other_network"},
		{"the default", "", away, false, "unconfirmed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				a := w.authorize()
				g, err := w.inspect(alice, a.UserCode)
				w.wants("", err)
				_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: test.from, Confirmed: test.confirmed})
				w.wants(test.want, err)
				_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Person: alice, From: test.from})
				if test.want != "" {
					w.wants("", err) // saying no needs no network
				}
			}, func(c *deviceauth.Config) { c.Network = test.policy })
		})
	}
}

// asks lets somebody at an address ask as the TV.
func (w *world) asks(from string) *deviceauth.Authorization {
	w.Helper()
	a, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: netip.MustParseAddr(from)})
	w.wants("", err)
	return a
}

func TestSameNetwork(t *testing.T) {
	tests := []struct {
		device, browser string
		same            bool
	}{
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "::ffff:192.0.2.7", true},
		{"192.0.2.7", "192.0.2.8", false},
		{"2001:db8:1:2::7", "2001:db8:1:2:3::9", true},
		{"2001:db8:1:2::7", "2001:db8:1:3::7", false},
		{"2001:db8:1:2::7", "192.0.2.7", false},
		{"fe80::1%eth0", "fe80::2", true},
		{"::1", "127.0.0.1", true}, // localhost, whichever of its addresses a browser takes
		{"127.0.0.1", "127.0.0.2", false},
		{"10.1.0.7", "10.2.0.9", true}, // both in the operator's network
		{"10.1.0.7", "192.0.2.7", false},
		{"10.1.0.7", "172.16.0.7", false}, // each in one of them
	}
	for _, test := range tests {
		in(t, func(w *world) {
			a := w.asks(test.device)
			g, err := w.inspect(alice, a.UserCode)
			w.wants("", err)
			_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: netip.MustParseAddr(test.browser)})
			if test.same != (err == nil) {
				t.Errorf("%s and %s: %v, want the same network: %v", test.device, test.browser, err, test.same)
			}
		}, func(c *deviceauth.Config) {
			c.Networks = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("172.16.0.0/12")}
		})
	}
}

func TestClientHasItsOwnNetworkPolicy(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: away, Confirmed: true})
		w.wants("other_network", err)
	}, func(c *deviceauth.Config) {
		c.Network, c.Clients[0].Network = deviceauth.NetworkOff, deviceauth.NetworkRequire
	})
}

func TestPersonWhoWasAskedByAnotherReportsIt(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		g, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Person: alice, From: away, Reported: true})
		w.wants("", err)
		if g.State != deviceauth.Denied || g.Reason != deviceauth.ReasonReported {
			t.Errorf("the grant is %s, %q", g.State, g.Reason)
		}
		_, err = w.poll(a)
		w.wants("access_denied", err)
	})
}

func TestClientWhoseCodesAreTyped(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		if a.Linkable {
			t.Error("the device is given a link that brings its code along")
		}
		inspect := func(linked bool) error {
			_, err := w.Inspect(w.Context(), deviceauth.InspectRequest{Person: alice, From: here, Code: a.UserCode, Linked: linked})
			return err
		}
		w.wants("untyped", inspect(true))
		w.wants("", inspect(false))
	}, func(c *deviceauth.Config) { c.Clients[0].Typed = true })
}

func TestClientHasItsOwnLifetimeOfCodes(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		if a.ExpiresIn != 2*time.Minute {
			t.Errorf("the device is told %v", a.ExpiresIn)
		}
		time.Sleep(2 * time.Minute)
		_, err := w.inspect(alice, a.UserCode)
		w.wants("unknown_code", err)
		_, err = w.poll(a)
		w.wants("expired_token", err)
	}, waitOff, func(c *deviceauth.Config) { c.Clients[0].Code = 2 * time.Minute })
}

// A code that lives long must not stand for one that has expired behind it.
//
// protocol 11
func TestCodesOfDifferentLifetimesFreeTheirPlaces(t *testing.T) {
	in(t, func(w *world) {
		ask := func(client deviceauth.Credentials) error {
			_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: client, From: here})
			return err
		}
		w.wants("", ask(tv)) // an hour
		w.wants("", ask(meter))
		w.wants("slow_down", ask(meter))
		time.Sleep(10*time.Minute + 2*time.Second)
		w.wants("", ask(meter))
		w.wants("slow_down", ask(meter))
	}, func(c *deviceauth.Config) { c.Clients[0].Code, c.Pending.Total = time.Hour, 2 })
}

func TestClientAsksForANewSignIn(t *testing.T) {
	in(t, func(w *world) {
		mine, theirs := w.authorize(), w.authorize()
		code, ok := deviceauth.ParseUserCode(mine.UserCode)
		if !ok {
			t.Fatal(mine.UserCode)
		}
		_, err := w.inspect(alice, mine.UserCode)
		w.wants("not_fresh", err)
		fresh := *alice
		fresh.Fresh = code
		g, err := w.inspect(&fresh, mine.UserCode)
		w.wants("", err)
		_, err = w.inspect(&fresh, theirs.UserCode) // one sign-in is for one device
		w.wants("not_fresh", err)
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here})
		w.wants("not_fresh", err)
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: &fresh, From: here})
		w.wants("", err)
	}, func(c *deviceauth.Config) { c.Clients[0].Fresh = true })
}

// protocol 18, 44
func TestClientSaysWhoMayApproveIt(t *testing.T) {
	owners := func(c *deviceauth.Config) {
		c.Clients[0].Allow = []deviceauth.Allow{{Claim: "groups", Patterns: []string{"owners"}}}
	}
	owner := *alice
	owner.Claims = deviceauth.Claims{"email": "alice@example.com", "email_verified": true, "groups": []any{"owners"}}
	in(t, func(w *world) {
		a := w.authorize()
		_, err := w.inspect(alice, a.UserCode)
		w.wants("not_permitted", err)
		g, err := w.inspect(&owner, a.UserCode)
		w.wants("", err)
		w.events = nil
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here})
		w.wants("not_permitted", err)
		if !slices.Equal(w.events, []string{deviceauth.EventBarred}) {
			w.Errorf("told: %q, want once that somebody was barred", w.events)
		}
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: &owner, From: here})
		w.wants("", err)
		_, err = w.poll(a)
		w.wants("", err)
	}, owners)
	in(t, func(w *world) { // the rule comes after the yes
		a := w.authorize()
		w.answer(a, true)
		w.anew(owners)
		_, err := w.poll(a)
		w.wants("access_denied", err)
	})
}
