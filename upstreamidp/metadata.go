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

// discovered is what the provider said of itself. said is compared as a whole
// to notice changes, see cachedDiscovery.ended.
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

// lacks reports whether a list of the metadata says that something is not
// supported. A list that is left out says nothing.
func lacks(list []string, value string) bool { return len(list) > 0 && !slices.Contains(list, value) }

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
	d.verifier = provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID, Now: lenient})
	d.logouts = p.logoutVerifier(d.metadata)
	return d, nil
}

// wrongIssuer says how the provider calls itself. A token of a provider that
// calls itself otherwise than it is configured is never good (OpenID Connect
// Discovery §4.3), so that no time heals it.
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

// checkEndpoints wants addresses with TLS, or on this machine.
func (p *Provider) checkEndpoints(d *discovered) error {
	endpoints := map[string]string{
		"authorization_endpoint": d.endpoint.AuthURL, "token_endpoint": d.endpoint.TokenURL, "jwks_uri": d.Keys,
	}
	far := strings.HasPrefix(p.cfg.Issuer, "https:")
	for name, address := range endpoints {
		if u, err := url.Parse(address); err != nil || u.Host == "" || !private(u) || far && u.Scheme == "http" {
			return fmt.Errorf("%s %q: want an https URL", name, address)
		}
	}
	return nil
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
	if p.cfg.ClientSecret == "" || lacks(offered, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}
