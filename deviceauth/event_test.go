package deviceauth_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// The event of a refusal names the rule that refused the person, for every kind of
// request.
func TestBarredPersonsRuleIsTold(t *testing.T) {
	var event deviceauth.Event
	here := netip.MustParseAddr("192.0.2.9")
	groups := []deviceauth.Allow{{Claim: "groups", Patterns: []string{"owners", "admin-*"}}}
	wants := func(w *world, rule, client string, browser netip.Addr) {
		w.Helper()
		if event.Name != deviceauth.EventBarred || event.Rule != rule || event.ClientID != client ||
			event.Browser != browser {
			w.Errorf("got %+v, want the rule %q", event, rule)
		}
		event = deviceauth.Event{}
	}
	in(t, func(w *world) {
		inspect := func(p *deviceauth.Person) {
			_, err := w.Inspect(w.Context(),
				deviceauth.InspectRequest{Person: p, From: here, Code: w.authorize().UserCode})
			w.wants("not_permitted", err)
		}
		inspect(mallory)
		wants(w, "upstream work: allow email *@example.com", "", here)
		stranger := *alice
		stranger.Upstream = "old"
		inspect(&stranger)
		wants(w, "upstream old is not configured", "", here)

		tokens := w.tokens()
		w.anew(func(c *deviceauth.Config) { c.Clients[0].Allow = groups })
		inspect(alice)
		wants(w, "client tv: allow groups owners admin-*", "tv", here)
		_, err := w.refresh(tokens.RefreshToken, "")
		w.wants("invalid_grant", err)
		wants(w, "client tv: allow groups owners admin-*", "tv", netip.Addr{})
	}, func(c *deviceauth.Config) {
		c.Events = func(e deviceauth.Event) { event = e }
	})
}

// Text from a client is cut and loses invisible characters before it is in an event.
func TestTriedClientIsQuoted(t *testing.T) {
	var event deviceauth.Event
	in(t, func(w *world) {
		for tried, want := range map[string]string{
			"old-gadget": "old-gadget", "c_" + strings.Repeat("A", 26): "c_" + strings.Repeat("A", 26),
			"a\n\u202eb\xff":           "ab",
			strings.Repeat("ä", 1<<16): strings.Repeat("ä", 100), "tv": "",
			// Credentials that were sent as another parameter are not logged.
			"rt_" + strings.Repeat("x", 64):             "rt_[hidden]",
			"id=dc_" + strings.Repeat("x", 64) + "&":    "id=dc_[hidden]&",
			"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln": "eyJ[hidden]",
		} {
			_, err := w.Authorize(w.Context(), deviceauth.AuthorizeRequest{
				Client: deviceauth.Credentials{ClientID: tried, Secret: "wrong"},
			})
			w.wants("invalid_client", err)
			if event.Tried != want {
				t.Errorf("%.20q: %q", tried, event.Tried)
			}
		}
	}, func(c *deviceauth.Config) {
		c.Events = func(e deviceauth.Event) { event = e }
	})
}
