package upstreamidp

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

// discovered is what the provider said of itself.
type discovered struct {
	*oidc.Provider
	verifier    *oidc.IDTokenVerifier
	logouts     *oidc.IDTokenVerifier
	endpoint    oauth2.Endpoint
	tellsIss    bool // RFC 9207: an answer without iss is not the provider's
	hasUserinfo bool
}

// metadata are the members that go-oidc has no method for.
type metadata struct {
	TellsIss bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3
	Methods  []string `json:"token_endpoint_auth_methods_supported"`
	Keys     string   `json:"jwks_uri"`
	Signing  []string `json:"id_token_signing_alg_values_supported"`
}

// asymmetric are the signing algorithms without those that need no private key.
func (m metadata) asymmetric() (list []string) {
	for _, alg := range m.Signing {
		if alg != "none" && !strings.HasPrefix(alg, "HS") {
			list = append(list, alg)
		}
	}
	return list
}

// ask fetches the provider's metadata (OpenID Connect Discovery §4). Its
// context is no caller's: go-oidc keeps the client in it for the keys.
func (p *Provider) ask() (*discovered, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(context.Background(), p.cfg.HTTPClient), p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var more metadata
	if err := provider.Claims(&more); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	endpoint := provider.Endpoint()
	for name, address := range map[string]string{"authorization_endpoint": endpoint.AuthURL, "token_endpoint": endpoint.TokenURL, "jwks_uri": more.Keys} {
		if u, err := url.Parse(address); err != nil || u.Host == "" || !private(u) || u.Scheme == "http" && strings.HasPrefix(p.cfg.Issuer, "https:") {
			return nil, fmt.Errorf("discovery: %s %q: want an https URL", name, address)
		}
	}
	endpoint.AuthStyle = p.authStyle(more.Methods)
	return &discovered{
		Provider: provider, verifier: provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: lenient}), endpoint: endpoint,
		logouts: p.logoutVerifier(more), tellsIss: more.TellsIss, hasUserinfo: provider.UserInfoEndpoint() != "",
	}, nil
}

// skew is how far a provider's clock may be from ours.
const skew = time.Minute

// lenient is a clock that is late by the skew, for what the provider says has
// expired. (That a token is not valid yet go-oidc forgives for 5 minutes.)
func lenient() time.Time { return time.Now().Add(-skew) }

// authStyle is how we prove ourselves: Basic, which is the default of OpenID
// Connect Discovery §3, unless the provider does not offer it. Left to find it
// out by trying, the library would spend the code on the first attempt.
func (p *Provider) authStyle(offered []string) oauth2.AuthStyle {
	if p.cfg.ClientSecret == "" || len(offered) > 0 && !slices.Contains(offered, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}
