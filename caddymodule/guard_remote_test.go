package caddymodule

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

// JSON gets the same checks as the Caddyfile.
func TestServerElsewhereIsChecked(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Edge)
		want   string
	}{
		"good":            {func(*Edge) {}, ""},
		"no memory":       {func(e *Edge) { e.Cache = new(caddy.Duration) }, ""},
		"no issuer":       {func(e *Edge) { e.Issuer = "" }, "issuer"},
		"no client":       {func(e *Edge) { e.ClientID = "" }, "client"},
		"no secret":       {func(e *Edge) { e.ClientSecret = "" }, "client secret"},
		"below no memory": {func(e *Edge) { e.Cache = new(caddy.Duration(-1)) }, "cache"},
		"long memory":     {func(e *Edge) { e.Cache = new(caddy.Duration(time.Hour)) }, "cache"},
		"a path":          {func(e *Edge) { e.Origins = []string{"https://a.example/x"} }, "origin"},
		"no scheme":       {func(e *Edge) { e.Origins = []string{"a.example"} }, "origin"},
	} {
		e := Edge{Issuer: "https://login.example.com", ClientID: "edge", ClientSecret: "x"}
		test.change(&e)
		_, err := e.server(nil, zap.NewNop())
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
