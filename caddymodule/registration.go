package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Registration says which clients may introduce themselves. People are told that nobody
// has checked such a client, until the operator approves it.
type Registration struct {
	// Hosts whose client metadata documents are read, with * for any text: a `client_id`
	// may then be the https URL of its document there.
	Documents []string `json:"documents,omitempty"`
	// Any client may register (RFC 7591).
	Open bool `json:"open,omitempty"`
	// Requests with this initial access token may register clients (RFC 7591), and manage
	// those that did; placeholders are allowed.
	Token *string `json:"token,omitempty"`
	// All scopes that such clients may ask for. Required.
	Scopes []string `json:"scopes,omitempty"`
	// How many clients may be registered. Default: 1000.
	Limit int `json:"limit,omitempty"`

	token string // resolved
}

// config is the registration as the engine wants it, with the token resolved.
func (r *Registration) config() (deviceauth.Registration, error) {
	if r == nil {
		return deviceauth.Registration{}, nil
	}
	c := deviceauth.Registration{
		Documents: r.Documents, Open: r.Open, Token: deviceauth.Secret(r.token),
		Scope: deviceauth.NewScope(r.Scopes...), Limit: r.Limit,
	}
	if err := checkScopeNames(r.Scopes); err != nil {
		return c, fmt.Errorf("registration: %w", err)
	}
	return c, nil
}

// check checks the block without resolving placeholders: it is enough that a token is
// configured.
func (r *Registration) check() error {
	if len(r.Documents) == 0 && !r.Open && r.Token == nil {
		return fmt.Errorf("registration: want documents, open or token: else no client may introduce itself")
	}
	c, err := r.config()
	if err != nil {
		return err
	}
	if r.Token != nil {
		c.Token = "is there"
	}
	return deviceauth.Config{Issuer: "https://localhost", Registration: c}.Check()
}

// checkSoFar is check before all lines of the block have been read.
func (r *Registration) checkSoFar() error {
	part := *r
	part.Open = part.Open || part.Token == nil
	if len(part.Scopes) == 0 {
		part.Scopes = []string{"yet-to-come"}
	}
	return part.check()
}

// parseRegistration reads `registration { … }`.
func (a *App) parseRegistration(d *caddyfile.Dispenser) error {
	a.Registration = new(Registration)
	if err := noMore("registration", d); err != nil {
		return err
	}
	return block{what: "registration", check: a.Registration.checkSoFar, words: map[string]lineReader{
		"documents": list(&a.Registration.Documents),
		"open":      set(&a.Registration.Open),
		"token":     secretText(&a.Registration.Token),
		"scopes":    list(&a.Registration.Scopes),
		"limit":     number(&a.Registration.Limit),
	}, many: []string{"documents"}}.read(d)
}
