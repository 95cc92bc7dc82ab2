package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/dispatch"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
)

// App is the authorization server: it issues tokens to devices (RFC 8628) after a
// person has signed in at an upstream OpenID provider and approved it. A Caddy has
// one; the handlers `device_login` and `device_auth` make it available in sites.
type App struct {
	// The issuer URL, exactly as tokens and metadata contain it: https, or http on a
	// loopback host. Required.
	Issuer string `json:"issuer,omitempty"`

	// The OpenID providers where people sign in.
	Upstreams []Upstream `json:"upstreams,omitempty"`

	// The kinds of devices that may request tokens.
	Clients []Client `json:"clients,omitempty"`

	// Which clients may introduce themselves. Default: none.
	Registration *Registration `json:"registration,omitempty"`

	// Explanations of scopes for the consent page.
	Scopes []Scope `json:"scopes,omitempty"`

	// The allowed values of `audience` and `resource`; the first is the
	// default. Default: the issuer.
	Audience []string `json:"audience,omitempty"`

	// The format of user codes. Default: `****-****` over `base20`.
	UserCode *UserCode `json:"user_code,omitempty"`

	// Lifetimes and time limits.
	Lifetime Lifetime `json:"lifetime,omitzero"`

	// How many grants may be pending at a time.
	Pending Pending `json:"pending,omitzero"`

	// How long a pending poll is held; 0 answers at once. Default: 2.5s.
	Wait *caddy.Duration `json:"wait,omitempty"`

	// The polling interval in the response to devices. Default: 1s, or 5s if polls
	// are not held.
	Interval caddy.Duration `json:"interval,omitempty"`

	// The signing algorithm: ES256, EdDSA or RS256. Default: ES256.
	Signing string `json:"signing,omitempty"`

	// The policy for approvals from another network than the device's: off, warn or
	// require. Default: warn.
	Network deviceauth.Network `json:"network,omitempty"`

	// Networks within which any two addresses are in the same network: an
	// office, a campus, a VPN, each a prefix (CIDR), or a name and its prefixes.
	Networks []JoinedNetwork `json:"networks,omitempty"`

	// Prefixes with which a NAT64 translates IPv4 addresses to IPv6, besides
	// 64:ff9b::/96.
	NAT64 []string `json:"nat64,omitempty"`

	// The location of a device in words, for the consent page: a text with
	// placeholders, for example of a module that maps addresses to cities.
	Place string `json:"place,omitempty"`

	// Other products whose devices are supported with their own paths and formats:
	// auth0, codeontime, entra, github, google.
	Dialects []string `json:"dialects,omitempty"`

	// The appearance of the pages.
	Brand pages.Brand `json:"brand,omitzero"`

	// Other paths for the endpoints and pages.
	Paths oauthapi.Paths `json:"paths,omitzero"`

	// A path of the issuer's site that reports publicly whether the device login
	// works: 200, or 503 with the reason. Default: none. The admin endpoint always
	// reports it, at /device_login/health.
	Health string `json:"health,omitempty"`

	// The store of grants and keys. Default: badger in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=device_login.stores inline_key=module"`

	deferredChecks []func() error // run at the end of the Caddyfile block, which they need as a whole
	ctx            caddy.Context
	log            *zap.Logger
	auditLogs      map[string]*zap.Logger // by event name
	slog           *slog.Logger
	store          Store
	engine         deviceauth.Config
	guards         []*Guard
	issuerState    *issuerState // held from Provision to Cleanup
	pooledStore    *pooledStore // held from Start to Cleanup
	ready          chan struct{}
	setReady       func()                  // closes ready: requests that wait for Start continue, whatever its result
	server         *atomic.Pointer[server] // set before ready is closed; nil if Start failed or the store is late
	stopWaiting    func()                  // ends the retries for a late store; nil: there are none
	isLate         *atomic.Bool            // the store was unavailable at the start, and is retried

	emitter         dispatch.Emitter
	dispatcher      *dispatch.Dispatcher // set by Start
	sampler         *sampling.Sampler[eventKind]
	warned          *sync.Once                // runs warn once
	faults          *sampling.Sampler[string] // of outages, by message; from Provision to Cleanup
	stopMaintaining func()                    // set by Start
}

// CaddyModule returns the module's registration.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "device_login", New: func() caddy.Module { return new(App) }}
}

// Provision checks the configuration. It opens neither store nor connections: `caddy
// validate` also provisions, while a running server may have the database open, and a
// Badger database can be opened only once.
func (a *App) Provision(ctx caddy.Context) (err error) {
	a.ctx, a.log, a.ready = ctx, ctx.Logger(), make(chan struct{})
	a.auditLogs = auditLogs(a.log)
	a.slog = slog.New(withoutContext{Handler: ctx.Slogger().Handler()})
	a.server, a.isLate, a.faults = new(atomic.Pointer[server]), new(atomic.Bool), sampling.Outages(a.logOmittedFaults)
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	a.setReady = sync.OnceFunc(func() { close(a.ready) })
	if a.Issuer == "" {
		return errors.New("issuer is missing: " +
			"device_login and device_auth need the global option device_login { issuer … }")
	}
	if err := a.resolve(); err != nil {
		return err
	}
	if a.engine, err = a.config(); err != nil {
		return err
	}
	if err := a.check(); err != nil {
		return err
	}
	if a.StoreRaw == nil {
		a.StoreRaw = json.RawMessage(`{"module":"badger"}`)
	}
	module, err := ctx.LoadModule(a, "StoreRaw")
	if err != nil {
		return fmt.Errorf("loading the store: %w", err)
	}
	if advice := a.Brand.Advice(); advice != "" {
		a.log.Warn(advice)
	}
	for _, advice := range append(a.engine.Advice(), pages.ScopeAdvice(a.Brand, a.engine.Scopes)...) {
		a.log.Warn(advice)
	}
	a.store = module.(Store)
	events, err := ctx.App("events")
	if err != nil {
		return err
	}
	app := events.(*caddyevents.App)
	a.emitter = dispatch.Emitter{
		Subscribed: app.ShouldEmit,
		Emit:       func(name string, data map[string]any) { app.Emit(ctx, name, data) },
	}
	if a.issuerState, err = acquireIssuerState(a.Issuer); err == nil {
		a.warned = new(sync.Once)
	}
	return err
}

// Start opens the store and begins to serve. Caddy may start the http app before this
// one: requests that arrive in between wait for the end of Start, at most for
// startWait.
func (a *App) Start() (err error) {
	defer a.setReady()
	a.warn()
	a.pooledStore, err = a.open()
	switch {
	case err == nil:
		return a.begin(context.Background())
	case isAway(err) && a.issuerState.current.Load() == nil: // at a reload the previous configuration keeps serving
		a.awaitStore(err)
		return nil
	}
	return err
}

// begin starts serving with the open store: it loads the signing keys, assembles the
// gateway and publishes the server for requests. It keeps the previous
// configuration's server, because Caddy may still reject this configuration if
// another app fails to start.
func (a *App) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	keys, err := a.openKeys(ctx)
	if err != nil {
		return err
	}
	login := a.engine
	login.PollState, login.Events = a.pooledStore.pollState, a.audit
	login.Registration.Fetch = a.issuerState.documents
	login.Polls = func(answer string) { polls.WithLabelValues(answer).Inc() }
	g, err := gateway.Open(ctx, a.pooledStore.Storage(observeStore), gateway.Config{
		Login: login, Upstreams: a.upstreams(), Keys: keys,
		Brand: a.Brand, Paths: a.Paths, Dialects: a.Dialects,
		ClientIP: clientIP, Place: a.clientPlace, Log: a.slog, Stopping: caddy.Exiting,
	})
	if err != nil {
		return err
	}
	if len(g.Upstreams) > 1 { // a single upstream has the redirect URI that is documented
		for _, u := range g.Upstreams {
			a.log.Info("the redirect URI to register at an upstream",
				zap.String("upstream", u.ID()), zap.String("redirect_uri", g.Handler().Pages.RedirectURI(u.ID())))
		}
	}
	a.dispatcher, a.sampler = dispatch.New(a.emitter, a.log), sampling.New(a.logOmittedEvents)
	server := &server{
		engine: g.Engine, handler: g.Handler(), keys: keys, pooledStore: a.pooledStore,
		guards: map[*Guard]*guard.Guard{}, grantCounter: newGrantCounter(),
	}
	for _, g := range a.guards {
		server.guards[g] = guard.New(g.config(), server.engine)
	}
	server.health = a.newHealth(server)
	a.server.Store(server)
	a.maintain(g.Upstreams)
	server.previous = a.issuerState.current.Swap(server)
	return nil
}

// Stop answers all held polls immediately, so that no poll delays the end of the
// configuration. The store stays open for requests in progress; Cleanup closes it.
func (a *App) Stop() error {
	if a.stopWaiting != nil {
		a.stopWaiting()
	}
	if server := a.server.Load(); server != nil {
		server.retire(a.issuerState)
		server.engine.Close()
		a.stopMaintaining()
		a.sampler.Close()
		a.dispatcher.End()
	}
	return nil
}

// Cleanup releases what this configuration acquired, and nothing else: a
// configuration that failed to load must not close the database of the one that is
// still serving.
func (a *App) Cleanup() (err error) {
	if a.warned != nil {
		a.warn() // if the configuration was only validated
	}
	if a.setReady != nil {
		a.setReady()
		a.faults.Close()
	}
	if a.pooledStore != nil {
		err, a.pooledStore = a.pooledStore.release(), nil
	}
	if a.issuerState != nil {
		_, failed := issuerStates.Delete(a.Issuer) // requests in progress may still use it
		err = errors.Join(err, failed)
	}
	return err
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
