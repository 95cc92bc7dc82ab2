package upstreamidp

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// A Provider is a [deviceauth.Upstream]. New makes one; the provider itself is
// asked when the first person signs in, and again until it answers, so that
// one that is down at start heals by itself.
type Provider struct {
	cfg Config
	now func() time.Time

	mu      sync.Mutex
	found   *discovered
	failure error
	retry   time.Time     // not before; the failure is told until then
	pause   time.Duration // between the last two attempts
	looking chan struct{} // closed when the attempt under way has ended
}

// discovered is what the provider said of itself.
type discovered struct {
	*oidc.Provider
	verifier  *oidc.IDTokenVerifier
	endpoint  oauth2.Endpoint
	tellsIss  bool // authorization_response_iss_parameter_supported (RFC 9207)
	hasPeople bool // it has a userinfo endpoint
}

var _ deviceauth.Upstream = (*Provider)(nil)

// New checks the configuration and returns a provider.
func New(c Config) (*Provider, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	c.fill()
	return &Provider{cfg: c, now: time.Now}, nil
}

// ID implements [deviceauth.Upstream].
func (p *Provider) ID() string { return p.cfg.ID }

// Label implements [deviceauth.Upstream].
func (p *Provider) Label() string { return p.cfg.Name }

// Bounds of the pause after a failed discovery: long enough to spare a
// provider that is coming up, short enough that nobody notices.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// discover returns what the provider said of itself. All who ask at once share
// one request; one who gives up takes nothing from the others.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	for {
		p.mu.Lock()
		if p.found != nil {
			defer p.mu.Unlock()
			return p.found, nil
		}
		if p.looking == nil && p.now().Before(p.retry) {
			defer p.mu.Unlock()
			return nil, p.failure
		}
		if p.looking == nil {
			p.looking = make(chan struct{})
			go p.look(p.looking)
		}
		looking := p.looking
		p.mu.Unlock()
		select {
		case <-looking:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look asks the provider once. Its context outlives the request that caused
// it: go-oidc goes on to use it for the provider's keys. The client's own
// time-out ends it.
func (p *Provider) look(ended chan struct{}) {
	found, err := p.ask(oidc.ClientContext(context.Background(), p.cfg.HTTPClient))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.found, p.failure, p.looking = found, err, nil
	p.pause = min(max(firstPause, 2*p.pause), maxPause)
	p.retry = p.now().Add(p.pause)
	close(ended)
}

func (p *Provider) ask(ctx context.Context) (*discovered, error) {
	provider, err := oidc.NewProvider(ctx, p.cfg.Issuer)
	if err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	var more struct {
		TellsIss bool     `json:"authorization_response_iss_parameter_supported"`
		Methods  []string `json:"token_endpoint_auth_methods_supported"`
	}
	if err := provider.Claims(&more); err != nil {
		return nil, fmt.Errorf("discovery: %w", err)
	}
	endpoint := provider.Endpoint()
	endpoint.AuthStyle = p.authStyle(more.Methods)
	return &discovered{
		Provider: provider, verifier: provider.Verifier(&oidc.Config{ClientID: p.cfg.ClientID}), endpoint: endpoint,
		tellsIss: more.TellsIss, hasPeople: provider.UserInfoEndpoint() != "",
	}, nil
}

// authStyle is how we prove ourselves: Basic, which is the default of OpenID
// Connect Discovery §3, unless the provider does not offer it. Left to find it
// out by trying, the library would spend the code on the first attempt.
func (p *Provider) authStyle(offered []string) oauth2.AuthStyle {
	if p.cfg.ClientSecret == "" || len(offered) > 0 && !slices.Contains(offered, "client_secret_basic") {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

func (p *Provider) client(d *discovered, redirect string) *oauth2.Config {
	return &oauth2.Config{
		ClientID: p.cfg.ClientID, ClientSecret: p.cfg.ClientSecret.Reveal(), Endpoint: d.endpoint,
		RedirectURL: redirect, Scopes: p.cfg.Scopes,
	}
}

// Begin implements [deviceauth.Upstream] (OpenID Connect Core §3.1.2.1, RFC 7636).
func (p *Provider) Begin(ctx context.Context, a deviceauth.Attempt) (string, error) {
	d, err := p.discover(ctx)
	if err != nil {
		return "", err
	}
	options := []oauth2.AuthCodeOption{oidc.Nonce(a.Nonce), oauth2.S256ChallengeOption(a.Verifier)}
	if a.Switch {
		options = append(options, oauth2.SetAuthURLParam("prompt", "select_account"))
	}
	return p.client(d, a.RedirectURI).AuthCodeURL(a.State, options...), nil
}
