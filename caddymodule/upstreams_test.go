package caddymodule

import (
	"slices"
	"testing"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// The claims that a guard's header has are kept of what an upstream sends.
func TestHeadersNameClaimsThatAreKept(t *testing.T) {
	a := &App{guards: []*Guard{
		{Headers: []guard.IdentityHeader{{Name: "X-Department", Claim: "department"}, {Name: "X-User", Claim: "user"}}},
		{},
		{Headers: []guard.IdentityHeader{{Name: "X-Sub", Claim: "sub"}, {Name: "X-Office", Claim: "office"}}},
	}}
	if got := a.headerClaims(); !slices.Equal(got, []string{"department", "office"}) {
		t.Errorf("got %v", got)
	}
	u := Upstream{Claims: []string{"shoe_size"}} // for guards in other Caddys
	if got := u.config().BackendClaims; !slices.Equal(got, u.Claims) {
		t.Errorf("got %v", got)
	}
}
