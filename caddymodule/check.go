package caddymodule

import (
	"cmp"
	"errors"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
)

// check says what is wrong with the configuration, without network and store.
func (a *App) check() error {
	if err := a.engine.Check(); err != nil {
		return err
	}
	for i := range a.Upstreams {
		u := &a.Upstreams[i]
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
	if a.Signing != "" {
		if err := keyring.CheckAlgorithm(a.Signing); err != nil {
			return err
		}
	}
	return errors.Join(a.checkPlace(), a.Brand.Check(), a.Paths.Check(), a.checkHealthPath(),
		pages.CheckScopeTexts(a.engine.Scopes...), oauthapi.CheckDialects(a.Dialects, a.Paths, a.Issuer))
}

var errNoUpstream = errors.New("device_login: upstream is missing; " +
	"want at least one OpenID provider where people sign in")
