package upstreamidp

import (
	"context"
	"fmt"
	"strings"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// Logout implements [deviceauth.Upstream] (OpenID Connect Back-Channel Logout
// 1.0 §2.6): go-oidc checks all of it but whether the token has been seen.
func (p *Provider) Logout(ctx context.Context, token string) (*deviceauth.Logout, error) {
	d, err := p.discovery.get(ctx)
	if err != nil {
		return nil, err
	}
	t, err := d.verifier.VerifyLogout(ctx, token)
	if err != nil && strings.Contains(err.Error(), "fetching keys") {
		return nil, fmt.Errorf("verifying a logout token: %w", err)
	}
	if err != nil {
		return nil, deviceauth.Refuse("invalid_request", "not a logout token for this gateway")
	}
	l := &deviceauth.Logout{Upstream: p.cfg.ID, Session: t.SessionID, Token: t.TokenID}
	if t.Subject != "" {
		l.Subject = p.subject(t.Subject)
	}
	return l, nil
}
