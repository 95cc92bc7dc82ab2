package deviceauth_test

import (
	"net/netip"
	"slices"
	"strings"
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
				_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice,
					From: test.from, Confirmed: test.confirmed})
				w.wants(test.want, err)
				_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Person: alice, From: test.from})
				if test.want != "" {
					w.wants("", err) // saying no needs no network
				}
			}, func(c *deviceauth.Config) { c.Network = test.policy })
		})
	}
}

// authorizeFrom asks for a code as the TV, from an address.
func (w *world) authorizeFrom(from string) *deviceauth.Authorization {
	w.Helper()
	a, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: netip.MustParseAddr(from)})
	w.wants("", err)
	return a
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, text := range texts {
		list = append(list, netip.MustParsePrefix(text))
	}
	return list
}

// Wherever an address is compared, counted or shown, it is the IPv4 address that
// a translator hides.
//
// protocol 11, 12, 36
func TestTranslatedAddressIsTheOneBehindIt(t *testing.T) {
	in(t, func(w *world) {
		spellings := []string{"64:ff9b::192.0.2.9", "2001:db8:64::192.0.2.9", "2002:c000:209::1", "::ffff:192.0.2.9"}
		for _, from := range spellings {
			_, err := w.Authorize(w.Context(),
				deviceauth.AuthorizeRequest{Client: meter, From: netip.MustParseAddr(from)})
			w.wants("", err) // from 192.0.2.0/24
			g, err := w.inspect(alice, w.authorizeFrom(from).UserCode)
			w.wants("", err)
			if g.From != netip.MustParseAddr("192.0.2.9") {
				t.Errorf("%s is kept as %s", from, g.From)
			}
		}
		elsewhere := netip.MustParseAddr("64:ff9b::198.51.100.1")
		_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: meter, From: elsewhere})
		w.wants("access_denied", err)
		for i, from := range append(spellings, "192.0.2.9") {
			w.typist("bob", "b", from).types(wrongCode(i), "unknown_code")
		}
		w.typist("bob", "b", "192.0.2.9").types(wrongCode(9), "too_many_guesses")
	}, func(c *deviceauth.Config) { c.NAT64 = prefixes("2001:db8:64::/96") })
}

// A client that is allowed from the whole prefix of a NAT64 translator, as an
// operator may have configured it, is not allowed from all of IPv4.
//
// protocol 12
func TestPrefixOfATranslatorIsNotAllOfIPv4(t *testing.T) {
	in(t, func(w *world) {
		_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: meter, From: here})
		w.wants("access_denied", err)
	}, func(c *deviceauth.Config) { c.Clients[1].From = prefixes("64:ff9b::/96", "::ffff:0:0/96", "2002::/16") })
}

func TestNAT64PrefixIsChecked(t *testing.T) {
	tests := map[string]bool{"2001:db8::/96": true, "2001:db8::/32": true, "2001:db8::/33": false, "10.0.0.0/8": false}
	for text, good := range tests {
		c := config()
		c.NAT64 = prefixes(text)
		if err := c.Check(); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Where a device asks from, in words, is text of a bounded length.
//
// protocol 43
func TestPlaceIsPlainAndShort(t *testing.T) {
	in(t, func(w *world) {
		for place, want := range map[string]string{
			"Lisbon, Portugal":        "Lisbon, Portugal",
			" \u202eLisbon\x00\n ":    "Lisbon",
			strings.Repeat("é", 1000): strings.Repeat("é", 100),
			"":                        "",
		} {
			a, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{Client: tv, From: here, Place: place})
			w.wants("", err)
			g, err := w.inspect(alice, a.UserCode)
			w.wants("", err)
			if g.Place != want {
				t.Errorf("%q is kept as %q", place, g.Place)
			}
		}
	})
}

// networkPairs are where a device and a browser are, and whether that is one network
// under the configuration of TestSameNetwork.
var networkPairs = []struct {
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
	// A home or an office with two families is one network.
	{"203.0.113.7", "2001:db8:77:42::9", true},
	{"2001:db8:77:1::7", "2001:db8:77:42::9", true},
	{"203.0.113.7", "2001:db8:77:142::9", false}, // beyond its /56
	{"203.0.113.8", "2001:db8:77:42::9", false},
	{"198.51.100.77", "2001:db8:2::1", true},
	{"198.51.100.77", "203.0.113.7", false}, // each in another one
	// Translators show one IPv4 address as an IPv6 one.
	{"64:ff9b::192.0.2.7", "192.0.2.7", true},
	{"64:ff9b::192.0.2.7", "192.0.2.8", false},
	{"64:ff9b::192.0.2.7", "64:ff9b::192.0.2.8", false}, // one /64, and no neighbours
	{"2001:db8:64:64::192.0.2.7", "192.0.2.7", true},
	{"2001:db8:64:64::192.0.2.7", "2001:db8:64:64::192.0.2.8", false},
	{"2001:db8:6464:c000:2:700::", "192.0.2.7", true}, // 48 bits: the ninth byte is left out
	{"2002:c000:207:1::1", "192.0.2.7", true},
	{"2002:c000:207:1::1", "2002:c000:207:2::1", true},
	{"2002:c000:207:1::1", "2002:c000:208:1::1", false},
	{"2002:cb00:7107::1", "2001:db8:77:42::9", true}, // 203.0.113.7
	{"10.1.0.7", "64:ff9b::10.2.0.9", true},
	{"100.64.0.1", "2002:6440:100::1", true}, // both in the network that is spelled as 6to4
}

func TestSameNetwork(t *testing.T) {
	for _, test := range networkPairs {
		in(t, func(w *world) {
			a := w.authorizeFrom(test.device)
			g, err := w.inspect(alice, a.UserCode)
			w.wants("", err)
			_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice,
				From: netip.MustParseAddr(test.browser)})
			if test.same != (err == nil) {
				t.Errorf("%s and %s: %v, want the same network: %v", test.device, test.browser, err, test.same)
			}
		}, func(c *deviceauth.Config) {
			c.Networks = prefixes("10.0.0.0/8", "172.16.0.0/12", "2002:6440::/32")
			c.JoinedNetworks = [][]netip.Prefix{
				prefixes("203.0.113.7/32", "2001:db8:77::/56"),
				prefixes("2001:db8:2::/48", "198.51.100.0/24"),
			}
			c.NAT64 = prefixes("2001:db8:64:64::/96", "2001:db8:6464::/48")
		})
	}
}

func TestClientHasItsOwnNetworkPolicy(t *testing.T) {
	in(t, func(w *world) {
		a := w.authorize()
		g, err := w.inspect(alice, a.UserCode)
		w.wants("", err)
		_, err = w.Answer(w.Context(),
			deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: away, Confirmed: true})
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
			_, err := w.Inspect(w.Context(),
				deviceauth.InspectRequest{Person: alice, From: here, Code: a.UserCode, Linked: linked})
			return err
		}
		w.wants("untyped", inspect(true))
		w.wants("", inspect(false))
	}, func(c *deviceauth.Config) { c.Clients[0].ManualEntry = true })
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

// A code with a long lifetime must not keep the place of a later code that has
// expired.
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
		signedIn := *alice
		signedIn.Fresh = code
		g, err := w.inspect(&signedIn, mine.UserCode)
		w.wants("", err)
		_, err = w.inspect(&signedIn, theirs.UserCode) // one sign-in is for one device
		w.wants("not_fresh", err)
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{Grant: g.ID, Allow: true, Person: alice, From: here})
		w.wants("not_fresh", err)
		_, err = w.Answer(w.Context(), deviceauth.AnswerRequest{
			Grant: g.ID, Allow: true, Person: &signedIn, From: here,
		})
		w.wants("", err)
	}, func(c *deviceauth.Config) { c.Clients[0].FreshSignIn = true })
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
