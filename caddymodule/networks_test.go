package caddymodule

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestNetworksInJSON(t *testing.T) {
	tests := []struct {
		name, text string
		lists      int
		good       bool
	}{
		{"prefixes", `["10.0.0.0/8", "192.0.2.7"]`, 2, true},
		{"a name", `["10.0.0.0/8", {"name": "home", "prefixes": ["203.0.113.7", "2001:db8:1::/56"]}]`, 2, true},
		{"no name", `[{"prefixes": ["203.0.113.7", "2001:db8:1::/56"]}]`, 1, true},
		{"no prefix", `[{"name": "home"}]`, 0, false},
		{"a duplicate name", `[{"name": "a", "prefixes": ["::1"]}, {"name": "a", "prefixes": ["::2"]}]`, 0, false},
		{"an unknown member", `[{"name": "a", "prefix": ["::1"]}]`, 0, false},
		{"a number", `[1]`, 0, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var networks []JoinedNetwork
			err := json.Unmarshal([]byte(test.text), &networks)
			lists, wrong := joinedNetworks(networks)
			if good := err == nil && wrong == nil; good != test.good || good && len(lists) != test.lists {
				t.Errorf("%v, %v, %v", lists, err, wrong)
			}
		})
	}
}

func TestPlaceOfARequest(t *testing.T) {
	app := &App{Place: "{geoip.city}, {geoip.country}"}
	tests := []struct{ city, country, want string }{
		{"Lisbon", "Portugal", "Lisbon, Portugal"},
		{"", "Portugal", "Portugal"},
		{"Lisbon", "", "Lisbon"},
		{"", "", ""},
		{"{env.HOME}", "Portugal", "{env.HOME}, Portugal"}, // what a module says is no template
	}
	for _, test := range tests {
		repl := caddy.NewReplacer()
		if test.city+test.country != "" {
			repl.Set("geoip.city", test.city)
			repl.Set("geoip.country", test.country)
		}
		r := httptest.NewRequest("POST", "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
		if got := app.clientPlace(r); got != test.want {
			t.Errorf("%q and %q are %q, want %q", test.city, test.country, got, test.want)
		}
	}
	if got := app.clientPlace(httptest.NewRequest("POST", "/", nil)); got != "" {
		t.Errorf("outside of Caddy: %q", got)
	}
}
