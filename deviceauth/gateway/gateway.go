// Package gateway assembles a device login from its parts, for Go programs and for
// package caddymodule: one call opens the signing keys, the upstreams, the engine,
// the endpoints and the pages over one storage, and keeps their configurations
// consistent. It makes no decisions itself.
package gateway

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
	"github.com/deviceauth/caddy-deviceauth/internal/clientdocument"
	"github.com/deviceauth/caddy-deviceauth/internal/discovery"
	"github.com/deviceauth/caddy-deviceauth/upstreamidp"
)

// Config is the configuration of a gateway. A zero field has its own default.
type Config struct {
	// Login has the issuer, the clients and the rules. [Open] sets the fields that
	// depend on the storage: Store, Documents, Signer, RefreshKey and Revalidate;
	// and, if they are missing, PollState, and UserClaim and Allow for each upstream.
	// So all people of an upstream without rules may approve.
	Login deviceauth.Config
	// Upstreams are the providers where people sign in, at least one, in the order of
	// their buttons. Open sets Documents and Key, and adds the claims that rules
	// need.
	Upstreams []upstreamidp.Config

	Signing  string // the algorithm of tokens; default ES256
	Brand    pages.Brand
	Paths    oauthapi.Paths
	Dialects []string                       // other products whose devices are supported
	ClientIP func(*http.Request) netip.Addr // default: the peer's address
	Place    func(*http.Request) string     // location of a device in words; default: unknown
	Log      *slog.Logger                   // of faults; default: discarded
	Stopping func() bool                    // reports whether the program is shutting down; default: it never is

	// Keys are signing keys that are already open over the same storage; nil: Open
	// opens them.
	Keys *keyring.Keyring
}

// A Gateway is a running device login, which [Open] returns. Close ends its held
// polls, and does not close the storage.
type Gateway struct {
	Engine    *deviceauth.Engine
	Keys      *keyring.Keyring
	Upstreams []deviceauth.Upstream

	handler *Handler
	log     *slog.Logger
}

// Open opens a gateway over a storage. The caller must close the storage, after the
// gateway. Several gateways may share a [deviceauth.Cluster]: they then enforce
// polling intervals together, and wake each other's polls. An error means that the
// configuration is invalid, or that the storage cannot be read.
func Open(ctx context.Context, storage deviceauth.Storage, c Config) (*Gateway, error) {
	if len(c.Upstreams) == 0 {
		return nil, errors.New("a gateway needs an upstream, where people sign in")
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	g := &Gateway{Keys: c.Keys, log: c.Log}
	if err := g.openKeys(ctx, storage, c); err != nil {
		return nil, err
	}
	login := c.Login
	login.Store, login.Documents, login.Signer = storage, storage, g.Keys
	login.RefreshKey = g.Keys.Source(keyring.PurposeRefresh)
	if login.PollState == nil {
		login.PollState = deviceauth.NewPollState()
		if cluster, ok := storage.(deviceauth.Cluster); ok {
			login.PollState.Share(cluster)
		}
	}
	if r := &login.Registration; len(r.Documents) > 0 && r.Fetch == nil {
		issuer, err := url.Parse(login.Issuer)
		if err != nil {
			return nil, err
		}
		r.Fetch = DocumentFetcher(issuer)
	}
	if err := g.openUpstreams(storage, c, &login); err != nil {
		return nil, err
	}
	var err error
	if g.Engine, err = deviceauth.New(login); err != nil {
		return nil, err
	}
	g.handler, err = NewHandler(HandlerConfig{
		Engine: g.Engine, Keys: g.Keys, Upstreams: g.Upstreams, CookieKey: g.Keys.Source(keyring.PurposeCookie),
		Brand: c.Brand, Paths: c.Paths, Dialects: c.Dialects,
		ClientIP: c.ClientIP, Place: c.Place, Log: c.Log, Stopping: c.Stopping,
	})
	return g, err
}

// DocumentFetcher returns a function that fetches client metadata documents and caches
// them, for [deviceauth.Registration]. It fetches from this machine only if the issuer is
// on it, too.
func DocumentFetcher(issuer *url.URL) func(ctx context.Context, url string) ([]byte, error) {
	fetcher := clientdocument.New(nil, discovery.IsLoopback(issuer.Hostname()))
	return func(ctx context.Context, url string) ([]byte, error) {
		document, err := fetcher.Fetch(ctx, url)
		var wrong *clientdocument.WrongError
		if errors.As(err, &wrong) {
			return nil, &deviceauth.DocumentError{Reason: wrong.Reason}
		}
		return document, err
	}
}

// openKeys opens the signing keys, and adds RS256 keys if a client needs an ID token
// with that algorithm.
func (g *Gateway) openKeys(ctx context.Context, storage deviceauth.Storage, c Config) (err error) {
	if g.Keys == nil {
		if g.Keys, err = keyring.Open(ctx, storage, c.Signing); err != nil {
			return err
		}
		g.Keys.OnLoss(func(reason string) { c.Log.Error(reason) })
	}
	if slices.ContainsFunc(c.Login.Clients, func(c deviceauth.Client) bool { return c.IDToken != "" }) {
		return g.Keys.IncludeRS256(ctx)
	}
	return nil
}

// openUpstreams creates the providers. Each gets the claims that rules need, its
// documents, and its key for stored refresh tokens. With Revalidate, the engine asks
// the provider at every refresh of a device.
func (g *Gateway) openUpstreams(storage deviceauth.Storage, c Config, login *deviceauth.Config) error {
	asked := map[string]*upstreamidp.Provider{}
	login.Allow, login.UserClaim = clone(login.Allow), clone(login.UserClaim)
	for _, u := range c.Upstreams {
		u.Documents, u.Key = storage, g.Keys.Source(keyring.PurposeUpstream)
		if u.Log == nil {
			u.Log = c.Log
		}
		u.RuleClaims = slices.Concat(u.RuleClaims, claimsOf(login.Allow[u.ID]))
		// A client's rules may need claims, and FreshSignIn a fresh sign-in, of every
		// upstream.
		for _, client := range login.Clients {
			u.Fresh = u.Fresh || client.FreshSignIn
			u.RuleClaims = append(u.RuleClaims, claimsOf(client.Allow)...)
		}
		// Without an entry the engine would not know the upstream; with a nil entry
		// everyone may approve.
		if _, known := login.Allow[u.ID]; !known {
			login.Allow[u.ID] = nil
		}
		if _, known := login.UserClaim[u.ID]; !known && u.UserClaim != "" {
			login.UserClaim[u.ID] = u.UserClaim
		}
		provider, err := upstreamidp.New(u)
		if err != nil {
			return err
		}
		g.Upstreams = append(g.Upstreams, provider)
		if u.Revalidate {
			asked[u.ID] = provider
		}
	}
	if len(asked) > 0 {
		login.Revalidate = func(ctx context.Context, p *deviceauth.Person) (*deviceauth.Person, error) {
			if provider := asked[p.Upstream]; provider != nil {
				return provider.Revalidate(ctx, p)
			}
			return p, nil
		}
	}
	return nil
}

// claimsOf returns the claims that rules need.
func claimsOf(rules []deviceauth.Allow) (claims []string) {
	for _, rule := range rules {
		claims = append(claims, rule.Claim)
	}
	return claims
}

// clone copies a map before it is modified, so that the caller's is unchanged; nil
// becomes an empty map.
func clone[V any](m map[string]V) map[string]V {
	all := map[string]V{}
	for k, v := range m {
		all[k] = v
	}
	return all
}

// Run maintains the signing keys until the context ends: it creates new keys when
// they are due, and loads changes of other gateways. It logs faults, and retries at
// the next tick.
func (g *Gateway) Run(ctx context.Context) {
	tick := time.NewTicker(keyring.MaintainEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := g.Keys.Maintain(ctx); err != nil && ctx.Err() == nil {
				g.log.Error("maintaining the signing keys", "error", err)
			}
		}
	}
}

// Handler returns the handler of the issuer's endpoints and pages. It responds with
// 404 to other paths.
func (g *Gateway) Handler() *Handler { return g.handler }

// Guard returns a handler that protects a handler without support for OAuth, see
// [guard.Guard.Middleware]. Tokens are validated by the gateway's own engine.
func (g *Gateway) Guard(next http.Handler, o guard.Options) http.Handler {
	return guard.New(o, g.Engine).Middleware(next)
}

// Close answers all held polls immediately. Requests in progress end by themselves.
func (g *Gateway) Close() { g.Engine.Close() }
