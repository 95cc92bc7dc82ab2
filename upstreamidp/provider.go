package upstreamidp

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"slices"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/seal"
)

// A Provider is a [deviceauth.Upstream], which New returns. Its metadata are fetched
// for the first sign-in, with retries until that succeeds, so that a provider may be
// unavailable at the start. From then on they are fetched every hour, and after
// failures that may be due to a change.
type Provider struct {
	cfg       Config
	discovery cachedDiscovery
	sealer    cipher.AEAD // of refresh tokens; nil without Revalidate
}

var _ deviceauth.Upstream = (*Provider)(nil)

// New checks the configuration and returns a provider. It sends no request, so it may
// be called while the provider is unavailable.
func New(c Config) (*Provider, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.fill()
	p := &Provider{cfg: c}
	if c.Revalidate {
		if err := p.initSealer(); err != nil {
			return nil, fmt.Errorf("upstream %s: revalidate: %w", c.ID, err)
		}
	}
	p.discovery.ask, p.discovery.changed = p.ask, p.logMetadata
	return p, nil
}

// initSealer prepares the storage of refresh tokens.
func (p *Provider) initSealer() (err error) {
	if p.cfg.Documents == nil {
		return errors.New("there are no Documents to keep refresh tokens in")
	}
	if p.sealer, err = seal.Follow(p.cfg.Key); err != nil {
		return fmt.Errorf("key of refresh tokens: %w", err)
	}
	return nil
}

// ID implements [deviceauth.Upstream].
func (p *Provider) ID() string { return p.cfg.ID }

// Label implements [deviceauth.Upstream].
func (p *Provider) Label() string { return p.cfg.Name }

// Reachable implements [deviceauth.Upstream].
func (p *Provider) Reachable(ctx context.Context) error { return p.discovery.reach(ctx) }

// logMetadata logs hints about the provider's metadata for the operator.
func (p *Provider) logMetadata(d *discovered, err error) {
	log := p.cfg.Log.With("upstream", p.cfg.ID)
	if err != nil {
		log.Warn("an upstream's metadata cannot be had; what it said before counts, if anything", "error", err)
		return
	}
	if p.cfg.Fresh && lacks(d.Claimed, "auth_time") {
		log.Warn("a client asks for a fresh sign-in, and the upstream does not list auth_time in its " +
			"claims_supported: where it sends none, nobody can approve the client's devices")
	}
	asked := slices.Contains(p.cfg.Scopes, scopeOffline) || len(p.cfg.Authorize) > 0
	if p.cfg.Revalidate && !asked && lacks(d.Scopes, scopeOffline) {
		log.Info("the upstream does not list offline_access in its scopes_supported, so that it is not asked for; " +
			"where sign-ins then bring no refresh token, an authorize line may help")
	}
}
