package upstreamidp

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/seal"
)

// A Provider is a [deviceauth.Upstream]. New makes one; the provider itself is
// asked when the first person is about to sign in, and again until it answers,
// so that one that is down at start heals by itself.
type Provider struct {
	cfg       Config
	discovery discovery
	sealer    cipher.AEAD // of refresh tokens; nil without Revalidate
}

var _ deviceauth.Upstream = (*Provider)(nil)

// New checks the configuration and returns a provider.
func New(c Config) (*Provider, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.fill()
	p := &Provider{cfg: c}
	if c.Revalidate {
		if err := p.keeps(); err != nil {
			return nil, fmt.Errorf("upstream %s: revalidate: %w", c.ID, err)
		}
	}
	p.discovery.ask = p.ask
	return p, nil
}

// keeps makes ready what it takes to keep refresh tokens.
func (p *Provider) keeps() (err error) {
	if p.cfg.Vault == nil {
		return errors.New("there is no Vault to keep refresh tokens in")
	}
	if p.sealer, err = seal.New(p.cfg.Key); err != nil {
		return fmt.Errorf("Key: %w", err)
	}
	return nil
}

// ID implements [deviceauth.Upstream].
func (p *Provider) ID() string { return p.cfg.ID }

// Label implements [deviceauth.Upstream].
func (p *Provider) Label() string { return p.cfg.Name }

// Reachable implements [deviceauth.Upstream].
func (p *Provider) Reachable(ctx context.Context) error { return p.discovery.reach(ctx) }

// Begin implements [deviceauth.Upstream] (OpenID Connect Core §3.1.2.1, RFC 7636).
func (p *Provider) Begin(ctx context.Context, a deviceauth.Attempt) (string, error) {
	d, err := p.discovery.get(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	switch {
	case a.Fresh: // both, because providers heed the one or the other
		options = append(options, oauth2.SetAuthURLParam("prompt", "login"), oauth2.SetAuthURLParam("max_age", "0"))
	case a.Switch:
		options = append(options, oauth2.SetAuthURLParam("prompt", "select_account"))
	}
	return p.client(d, a.RedirectURI).AuthCodeURL(a.State, options...), nil
}

// client is who we are in this attempt.
func (p *Provider) client(d *discovered, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), Endpoint: d.endpoint,
		RedirectURL: redirect, Scopes: p.cfg.Scopes,
	}
}
