package caddymodule

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard/remote"
	"github.com/deviceauth/caddy-deviceauth/internal/httpclient"
)

// Edge is an authorization server in another Caddy, for a guard that needs neither
// the app nor a store.
type Edge struct {
	// The server's issuer URL.
	Issuer string `json:"issuer"`
	// The client, declared with `guard` at the server, that this guard uses for
	// introspection; it may have placeholders.
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	// How long an introspection response is cached. 0: not at all, the server is
	// asked at every request. Default: 500ms.
	Cache *caddy.Duration `json:"cache,omitempty"`
	// Origins of browser pages that act as a client and may read the backend's
	// responses (CORS). The server has them for its clients, but does not publish
	// them.
	Origins []string `json:"origins,omitempty"`
	// A PEM file with certificates to trust besides the system's, if the server's
	// certificate is from a private certificate authority.
	CA string `json:"ca,omitempty"`
}

const edgeTimeout = 5 * time.Second // for a response of the server

// check checks what the Caddyfile parser reports at the faulty line.
func (e *Edge) check() error {
	if e.Cache != nil && *e.Cache < 0 {
		return fmt.Errorf("cache %v: want 0, or a length of time", time.Duration(*e.Cache))
	}
	return checkOrigins(e.Origins)
}

// server returns the client of the remote authorization server. It resolves
// placeholders and reads the CA file, but sends no request.
func (e *Edge) server(audience []string, log *zap.Logger) (*remote.Server, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("device_auth: %w", err)
	}
	repl := caddy.NewReplacer()
	id, err := repl.ReplaceOrErr(e.ClientID, true, true)
	if err != nil {
		return nil, fmt.Errorf("device_auth: client: %w", err)
	}
	hidden, err := secret(repl, &e.ClientSecret)
	if err != nil {
		return nil, fmt.Errorf("device_auth: client secret: %w", err)
	}
	client, err := httpclient.New(e.CA, edgeTimeout)
	if err != nil {
		return nil, fmt.Errorf("device_auth: %w", err)
	}
	server, err := remote.New(remote.Config{
		HTTP: client, Issuer: e.Issuer, ClientID: id, ClientSecret: deviceauth.Secret(hidden),
		Audience: audience, Cache: orOff(e.Cache), Origins: e.Origins,
		OtherAudience: func(has []string) {
			log.Warn("a token of the server's is refused because this guard accepts the issuer as audience "+
				"and no other: if the token is meant for this site, "+
				"add a line with the word audience to the guard's block (told once)",
				zap.Strings("audience", has), zap.String("accepted", e.Issuer))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("device_auth: %w", err)
	}
	return server, nil
}
