package deviceauth

import (
	"context"
	"slices"
	"time"
)

// What those who speak for an engine want to know of its configuration.

// Issuer returns the issuer URL as configured.
func (e *Engine) Issuer() string { return e.cfg.Issuer }

// Audience returns the allowed audiences, the default first.
func (e *Engine) Audience() []string { return e.cfg.Audience }

// Mask returns the shape of user codes.
func (e *Engine) Mask() Mask { return e.cfg.UserCode }

// Session returns how long people stay signed in.
func (e *Engine) Session() time.Duration { return e.cfg.Lifetime.Session }

// Network returns the network policy for a client.
func (e *Engine) Network(client string) Network {
	if c := e.client(client); c != nil && c.Network != "" {
		return c.Network
	}
	return e.cfg.Network
}

// Client returns a client by its id; one that introduced itself only after
// [Engine.LoadClient].
func (e *Engine) Client(id string) (*Client, bool) {
	c := e.client(id)
	return c, c != nil
}

// LoadClient looks up a client, also one that introduced itself; nil: there is none. A
// *Error says why its metadata document is refused.
func (e *Engine) LoadClient(ctx context.Context, id string) (*Client, error) {
	return e.loadClient(ctx, id)
}

// Registration returns which clients may introduce themselves.
func (e *Engine) Registration() Registration { return e.cfg.Registration }

// AllowsOrigin reports whether pages of an origin act as a client: of the configuration, or
// one that registered. The second is known within a second.
func (e *Engine) AllowsOrigin(ctx context.Context, origin string) bool {
	return e.origins[origin] || e.cfg.Registration.Registers() && e.registered.allows(ctx, e, origin)
}

// Scopes returns all scopes that some client may ask for, sorted.
func (e *Engine) Scopes() []string {
	all := e.cfg.Registration.Scope.List()
	for _, c := range e.clients {
		all = append(all, c.Scope.List()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ScopeTexts returns what the operator says that scopes allow.
func (e *Engine) ScopeTexts() []ScopeText { return e.cfg.Scopes }
