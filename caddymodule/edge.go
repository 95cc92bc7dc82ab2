package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/edge"
)

// Edge is an authorization server in another Caddy, for a guard that stands
// elsewhere: it needs neither the app nor a store.
type Edge struct {
	// The server's issuer URL.
	Issuer string `json:"issuer"`
	// The client, declared with `guard` at the server, by which this guard
	// asks about tokens; placeholders are allowed.
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	// How long an answer about a token is good. Default: 500ms.
	Cache caddy.Duration `json:"cache,omitempty"`
}

func (e *Edge) server(audience []string) (*edge.Server, error) {
	repl := caddy.NewReplacer()
	id, err := repl.ReplaceOrErr(e.ClientID, true, true)
	if err != nil {
		return nil, fmt.Errorf("device_auth: client: %w", err)
	}
	hidden, err := secret(repl, &e.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("device_auth: client secret: %w", err)
	}
	server, err := edge.New(edge.Config{
		Issuer: e.Issuer, ClientID: id, ClientSecret: deviceauth.Secret(hidden), Audience: audience, Cache: time.Duration(e.Cache),
	})
	if err != nil {
		return nil, fmt.Errorf("device_auth: %w", err)
	}
	return server, nil
}
