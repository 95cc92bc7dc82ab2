package deviceauth_test

import (
	"slices"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// protocol 44
func TestPersonWhoseGroupsWereLeftOutHearsThat(t *testing.T) {
	groups := []deviceauth.Allow{{Claim: "groups", Patterns: []string{"owners"}}}
	email := []deviceauth.Allow{{Claim: "email", Patterns: []string{"*@example.com"}}}
	tests := []struct {
		name             string
		upstream, client []deviceauth.Allow
		withheld         []string
		want             string
	}{
		{"the upstream's rule", groups, nil, []string{"groups"}, "groups_withheld"},
		{"the client's rule", nil, groups, []string{"groups"}, "groups_withheld"},
		{"both rules", email, groups, []string{"groups"}, "groups_withheld"},
		{"groups are known", groups, groups, nil, "not_permitted"},
		{"no rule is about groups", []deviceauth.Allow{{Claim: "department", Patterns: []string{"it"}}}, nil,
			[]string{"groups"}, "not_permitted"},
		{"another rule suffices", slices.Concat(groups, email), nil, []string{"groups"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in(t, func(w *world) {
				person := *alice
				person.Withheld = test.withheld
				person.Claims = deviceauth.Claims{"email": "alice@example.com", "email_verified": true}
				a := w.authorize()
				w.events = nil
				_, err := w.inspect(&person, a.UserCode)
				w.wants(test.want, err)
				if barred := slices.Contains(w.events, deviceauth.EventBarred); barred != (test.want != "") {
					w.Errorf("audit: %v", w.events)
				}
			}, func(c *deviceauth.Config) {
				c.Allow[alice.Upstream], c.Clients[0].Allow = test.upstream, test.client
			})
		})
	}
}
