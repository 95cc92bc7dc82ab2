package caddymodule

import (
	"cmp"
	"errors"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
)

// check validates the configuration without network and store, so that `caddy
// validate` finds the same mistakes as a start. For Caddyfile users most of these
// errors are reported earlier, at the faulty line.
func (a *App) check() error {
	// The engine's own checks come first, so that the other checks may assume a valid
	// issuer and valid clients.
	if err := a.engine.Check(); err != nil {
		return err
	}
	for i := range a.Upstreams {
		u := &a.Upstreams[i]
		// There are two checks because check replaces a client id that is still a
		// placeholder.
		if err := cmp.Or(u.config().Check(), u.check()); err != nil {
			return err
		}
	}
	for i := range a.Scopes {
		if err := a.Scopes[i].check(); err != nil {
			return err
		}
	}
	for _, c := range a.Clients {
		if err := checkLogo("client "+c.ID+": logo", c.Logo, a.Issuer); err != nil {
			return err
		}
	}
	if len(a.Upstreams) == 0 {
		return errNoUpstream
	}
	// An empty algorithm is the keyring's default, ES256 (RFC 7518 §3.1).
	if a.Signing != "" {
		if err := keyring.CheckAlgorithm(a.Signing); err != nil {
			return err
		}
	}
	// The last checks depend on several options at once: paths must not collide with
	// each other, with the health path or with those of a dialect.
	return errors.Join(a.checkPlace(), a.Brand.Check(), a.Paths.Check(), a.checkHealthPath(),
		pages.CheckScopeTexts(a.engine.Scopes...), oauthapi.CheckDialects(a.Dialects, a.Paths, a.Issuer))
}

// errNoUpstream means that no person could sign in. The Caddyfile parser reports it
// with the position of the block, and check for JSON users.
var errNoUpstream = errors.New("device_login: upstream is missing; " +
	"want at least one OpenID provider where people sign in")
