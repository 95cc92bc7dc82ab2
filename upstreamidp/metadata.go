package upstreamidp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// discovered are the metadata of a provider. document is compared as a whole to
// notice changes, see cachedDiscovery.ended.
type discovered struct {
	*oidc.Provider
	metadata
	document string // the whole document
	verifier *oidc.IDTokenVerifier
	logouts  *oidc.IDTokenVerifier
	endpoint oauth2.Endpoint
}

// metadata are the members that go-oidc has no method for.
type metadata struct {
	TellsIss bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3
	Methods  []string `json:"token_endpoint_auth_methods_supported"`
	Keys     string   `json:"jwks_uri"`
	Signing  []string `json:"id_token_signing_alg_values_supported"`
	Scopes   []string `json:"scopes_supported"`
	Prompts  []string `json:"prompt_values_supported"` // Initiating User Registration via OpenID Connect 1.0 §3
	Claimed  []string `json:"claims_supported"`
}

// lacks reports whether a list in the metadata shows that something is not supported.
// A missing list shows nothing.
func lacks(list []string, value string) bool { return len(list) > 0 && !slices.Contains(list, value) }

// asymmetric returns the signing algorithms that use a private key.
func (m metadata) asymmetric() (list []string) {
	for _, alg := range m.Signing {
		if alg != "none" && !strings.HasPrefix(alg, "HS") {
			list = append(list, alg)
		}
	}
	return list
}

// ask fetches the provider's metadata (OpenID Connect Discovery §4). It has its own
// context, which go-oidc keeps to fetch the keys later.
func (p *Provider) ask() (*discovered, error) {
	provider, err := oidc.NewProvider(oidc.ClientContext(context.Background(), p.cfg.HTTPClient), p.cfg.Issuer)
	var other *oidc.IssuerMismatchError
	if errors.As(err, &other) {
		err = wrongIssuer(other)
	}
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var document json.RawMessage
	d := &discovered{Provider: provider, endpoint: provider.Endpoint()}
	if err := errors.Join(provider.Claims(&d.metadata), provider.Claims(&document)); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	if err := p.checkEndpoints(d); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	d.document = string(document)
	d.endpoint.AuthStyle = p.authStyle(d.Methods)
	d.verifier = provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: lateClock})
	d.logouts = p.logoutVerifier(d.metadata)
	return d, nil
}

// wrongIssuer returns the error for metadata with another issuer than the configured
// one. Tokens of such a provider are never accepted (OpenID Connect Discovery §4.3),
// so retries are useless.
func wrongIssuer(other *oidc.IssuerMismatchError) error {
	switch {
	case other.Discovered == "":
		return &deviceauth.ConfigError{
			Reason: fmt.Sprintf("what answers at %q names no issuer: it is no OpenID provider", other.Provided)}
	case strings.ContainsAny(other.Discovered, "{}"):
		return manyTenants(other.Provided, other.Discovered)
	}
	return &deviceauth.ConfigError{Reason: fmt.Sprintf("the issuer is %q in the configuration, and the provider there "+
		"calls itself %q: if that is who you mean, write it like this, to the letter", other.Provided,
		other.Discovered)}
}

// checkEndpoints checks that endpoints use TLS, or are on this machine.
func (p *Provider) checkEndpoints(d *discovered) error {
	endpoints := map[string]string{
		"authorization_endpoint": d.endpoint.AuthURL, "token_endpoint": d.endpoint.TokenURL, "jwks_uri": d.Keys,
	}
	far := strings.HasPrefix(p.cfg.Issuer, "https:")
	for name, address := range endpoints {
		if u, err := url.Parse(address); err != nil || u.Host == "" || !isProtected(u) || far && u.Scheme == "http" {
			return fmt.Errorf("%s %q: want an https URL", name, address)
		}
	}
	return nil
}

// skew is the tolerated difference between a provider's clock and ours.
const skew = time.Minute

// lateClock returns the time minus the skew, for checks of expiry. (go-oidc tolerates
// 5 minutes for tokens that are not valid yet.)
func lateClock() time.Time { return time.Now().Add(-skew) }

// authStyle returns the client authentication method: Basic, the default of OpenID
// Connect Discovery §3, unless the provider does not support it. If the library had
// to find out by trying, its first attempt would use up the code.
func (p *Provider) authStyle(offered []string) oauth2.AuthStyle {
	if p.cfg.ClientSecret == "" || lacks(offered, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}
