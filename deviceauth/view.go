package deviceauth

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Read access to the configuration of an engine, for the packages that serve it.

// Issuer returns the issuer URL as configured.
func (e *Engine) Issuer() string { return e.cfg.Issuer }

// Audience returns the allowed audiences, the default first.
func (e *Engine) Audience() []string { return e.cfg.Audience }

// Mask returns the format of user codes.
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

// Client returns a client by its id. A client that introduced itself is returned only
// after [Engine.LoadClient].
func (e *Engine) Client(id string) (*Client, bool) {
	c := e.client(id)
	return c, c != nil
}

// LoadClient looks up a client, including one that introduced itself. It returns nil
// if there is none, and a *Error if its metadata document is refused.
func (e *Engine) LoadClient(ctx context.Context, id string) (*Client, error) {
	return e.loadClient(ctx, id)
}

// HasSecret reports whether a secret is that of a client.
func (e *Engine) HasSecret(ctx context.Context, id string, secret Secret) bool {
	c, err := e.loadClient(ctx, id)
	return err == nil && c != nil && !c.Public && c.hasSecret(secret)
}

// Registration returns which clients may introduce themselves.
func (e *Engine) Registration() Registration { return e.cfg.Registration }

// AllowsOrigin reports whether pages of an origin act as a client that the operator
// knows: a client of the configuration, or a registered client that the operator
// approved. An approval takes effect within a second.
func (e *Engine) AllowsOrigin(ctx context.Context, origin string) bool {
	if e.origins[origin] || !e.cfg.Registration.Registers() {
		return e.origins[origin]
	}
	_, approved := e.registered.find(ctx, e, origin)
	return approved
}

// IsClientOrigin reports whether pages of an origin act as any client: one that
// [Engine.AllowsOrigin] accepts, a registered client, or one with a metadata document
// on this origin. Such a page may read the responses of endpoints that clients use.
func (e *Engine) IsClientOrigin(ctx context.Context, origin string) bool {
	if e.origins[origin] {
		return true
	}
	if host, https := strings.CutPrefix(origin, "https://"); https && e.allowsDocumentsOf(host) {
		return true
	}
	if !e.cfg.Registration.Registers() {
		return false
	}
	known, _ := e.registered.find(ctx, e, origin)
	return known
}

// MayActAs reports whether pages of an origin that [Engine.IsClientOrigin] accepts may
// act as a client. The operator's own origins may act as any client. Pages of a client
// that introduced itself may act as that client alone: an attacker can introduce a
// client, too, and its pages must not read the tokens of another. If the client does not
// exist there are no tokens to protect, so the result is true. The errors are those of
// [Engine.LoadClient].
func (e *Engine) MayActAs(ctx context.Context, origin, clientID string) (bool, error) {
	if e.origins[origin] {
		return true, nil
	}
	client, err := e.loadClient(ctx, clientID)
	if err != nil || client == nil {
		return err == nil, err
	}
	own := client.Introduced &&
		(origin == "https://"+client.Host || slices.Contains(client.metadata.origins(), origin))
	return own, nil
}

// Scopes returns all scopes that any client may request, sorted.
func (e *Engine) Scopes() []string {
	all := e.cfg.Registration.Scope.List()
	for _, c := range e.clients {
		all = append(all, c.Scope.List()...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ScopeTexts returns the operator's explanations of scopes.
func (e *Engine) ScopeTexts() []ScopeText { return e.cfg.Scopes }
