package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/block"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Registration configures which clients may introduce themselves. People are warned
// that such a client has not been checked, until the operator approves it.
type Registration struct {
	// Hosts whose client metadata documents are accepted, with * for any text: a
	// `client_id` may then be the https URL of its document there.
	Documents []string `json:"documents,omitempty"`
	// Whether any client may register (RFC 7591).
	Open bool `json:"open,omitempty"`
	// Requests with this initial access token may register clients (RFC 7591), and
	// manage registered ones; it may have placeholders.
	Token *string `json:"token,omitempty"`
	// All scopes that such clients may request. Required.
	Scopes []string `json:"scopes,omitempty"`
	// How many clients may be registered. Default: 1000.
	Limit int `json:"limit,omitempty"`

	token string // resolved
}

// config returns the registration in the form of the engine, with the token resolved.
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

// check validates the block without resolving placeholders: a configured token counts
// as present.
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

// checkSoFar is check for an incomplete block.
func (r *Registration) checkSoFar() error {
	part := *r
	part.Open = part.Open || part.Token == nil
	if len(part.Scopes) == 0 {
		part.Scopes = []string{"yet-to-come"}
	}
	return part.check()
}

// parseRegistration parses `registration { … }`.
func (a *App) parseRegistration(d *caddyfile.Dispenser) error {
	a.Registration = new(Registration)
	table := block.Block{What: "registration", Check: a.Registration.checkSoFar, Words: block.Words{
		"documents": &a.Registration.Documents,
		"open":      &a.Registration.Open,
		"token":     block.Secret(&a.Registration.Token, errEmptySecret),
		"scopes":    &a.Registration.Scopes,
		"limit":     &a.Registration.Limit,
	}, Many: []string{"documents"}}
	return table.Read(d)
}
