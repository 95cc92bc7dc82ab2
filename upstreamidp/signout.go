package upstreamidp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

var errNoLogout = deviceauth.NewError("invalid_request", "not a logout token for this gateway")

// SignOut implements [deviceauth.Upstream] (OpenID Connect Back-Channel Logout 1.0
// §2.6). A replayed token is harmless: it only ends sign-ins that were started before
// it was issued. A refused token is the error invalid_request (§2.8); if keys cannot
// be fetched it is a fault, and the provider may repeat its request.
func (p *Provider) SignOut(ctx context.Context, token string) (*deviceauth.SignOut, error) {
	d, err := p.discovery.get(ctx)
	if err != nil {
		return nil, err
	}
	t, err := d.logouts.VerifyLogout(ctx, token)
	if unfetched(err) {
		return nil, fmt.Errorf("verifying a logout token: %w", err)
	}
	if err != nil || t.IssuedAt.IsZero() {
		return nil, errNoLogout
	}
	l := &deviceauth.SignOut{Upstream: p.cfg.ID, Session: t.SessionID, At: time.Now().UTC()}
	if issued := t.IssuedAt.Add(skew).UTC(); issued.Before(l.At) {
		l.At = issued
	}
	if t.Subject != "" {
		l.Subject = p.subject(t.Subject)
	}
	return l, nil
}

// unfetched reports whether a token could not be verified because fetching the keys
// failed. go-oidc has no error type for that.
func unfetched(err error) bool { return err != nil && strings.Contains(err.Error(), "fetching keys") }

// logoutVerifier returns a verifier with its own key set: any client may post a
// token, and go-oidc fetches the keys for each one that it cannot verify.
func (p *Provider) logoutVerifier(more metadata) *oidc.IDTokenVerifier {
	sparing := *p.cfg.HTTPClient
	sparing.Transport = &throttledTransport{RoundTripper: sparing.Transport}
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(context.Background(), &sparing), more.Keys)
	return oidc.NewVerifier(p.cfg.Issuer, keys,
		&oidc.Config{ClientID: p.cfg.ClientID, Now: lateClock, SupportedSigningAlgs: more.asymmetric()})
}

// A throttledTransport permits one request every few seconds.
type throttledTransport struct {
	http.RoundTripper
	mu   sync.Mutex
	next time.Time
}

// fetchPause is the pause between two fetches of keys. It also limits how long a
// logout with a new key has to wait when others post invalid tokens.
const fetchPause = 5 * time.Second

var errTooOften = errors.New("the keys were fetched a moment ago")

// RoundTrip implements http.RoundTripper.
func (t *throttledTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.mu.Lock()
	now := time.Now()
	early := now.Before(t.next)
	if !early {
		t.next = now.Add(fetchPause)
	}
	t.mu.Unlock()
	if early {
		return nil, errTooOften
	}
	return t.RoundTripper.RoundTrip(r)
}
