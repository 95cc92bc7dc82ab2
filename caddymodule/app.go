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

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/pages"
	"github.com/deviceauth/caddy-deviceauth/internal/sampling"
)

// App is the authorization server: it gives devices tokens (RFC 8628) when a
// person who signs in at an upstream OpenID provider allows it. There is one
// in a Caddy; the handlers `device_login` and `device_auth` put it into sites.
type App struct {
	// The issuer URL, exactly as tokens and metadata are to name it: https,
	// or http on a loopback host. Required.
	Issuer string `json:"issuer,omitempty"`

	// The OpenID providers where people sign in.
	Upstreams []Upstream `json:"upstreams,omitempty"`

	// The kinds of devices that may ask.
	Clients []Client `json:"clients,omitempty"`

	// Which clients may introduce themselves. Default: none.
	Registration *Registration `json:"registration,omitempty"`

	// What the consent page says of scopes.
	Scopes []Scope `json:"scopes,omitempty"`

	// The allowed values of `audience` and `resource`; the first is the
	// default. Default: the issuer.
	Audience []string `json:"audience,omitempty"`

	// How user codes look. Default: `****-****` over `base20`.
	UserCode *UserCode `json:"user_code,omitempty"`

	// How long things last.
	Lifetime Lifetime `json:"lifetime,omitzero"`

	// How many grants may wait at a time.
	Pending Pending `json:"pending,omitzero"`

	// How long a pending poll is held; 0 answers at once. Default: 2.5s.
	Wait *caddy.Duration `json:"wait,omitempty"`

	// The polling interval in the answer to devices. Default: 1s, or 5s where polls
	// are not held.
	Interval caddy.Duration `json:"interval,omitempty"`

	// The signing algorithm: ES256, EdDSA or RS256. Default: ES256.
	Signing string `json:"signing,omitempty"`

	// What follows when a person approves from another network than the
	// device's: off, warn or require. Default: warn.
	Network deviceauth.Network `json:"network,omitempty"`

	// Networks within which any two addresses are in the same network: an
	// office, a campus, a VPN, each a prefix (CIDR), or a name and its prefixes.
	Networks []JoinedNetwork `json:"networks,omitempty"`

	// Prefixes under which a NAT64 shows IPv4 addresses as IPv6 ones, beside
	// 64:ff9b::/96.
	NAT64 []string `json:"nat64,omitempty"`

	// Where a device asks from, in words, for the page that asks its person: a
	// text with placeholders, say of a module that knows cities.
	Place string `json:"place,omitempty"`

	// Other products whose devices are served as well, at the paths and in
	// the manner of these: auth0, codeontime, entra, github, google.
	Dialects []string `json:"dialects,omitempty"`

	// How the pages look.
	Brand pages.Brand `json:"brand,omitzero"`

	// Other places for the endpoints and pages.
	Paths oauthapi.Paths `json:"paths,omitzero"`

	// A path of the issuer's site where all may ask whether the device login
	// works: 200, or 503 with the reason. Default: none; the admin endpoint always
	// says it, at /device_login/health.
	Health string `json:"health,omitempty"`

	// Where grants and keys are kept. Default: badger in Caddy's data directory.
	StoreRaw json.RawMessage `json:"store,omitempty" caddy:"namespace=device_login.stores inline_key=module"`

	deferredChecks []func() error // checks of Caddyfile lines that need the whole block; run at its end
	ctx            caddy.Context
	log            *zap.Logger
	auditLogs      map[string]*zap.Logger // by the names of events
	slog           *slog.Logger
	store          Store
	engine         deviceauth.Config
	guards         []*Guard
	issuerState    *issuerState // held from Provision to Cleanup
	pooledStore    *pooledStore // held from Start to Cleanup
	ready          chan struct{}
	setReady       func()                  // closes ready: requests that wait for Start go on, whatever its result
	server         *atomic.Pointer[server] // set before ready is closed; nil where Start failed or the store is late
	stopWaiting    func()                  // ends the wait for a late store; nil: there is none
	isLate         *atomic.Bool            // the store was away at the start, and is tried again

	emitter         emitter
	dispatcher      *dispatcher // set by Start
	sampler         *sampling.Sampler[eventKind]
	warned          *sync.Once                // runs the warnings of warn once
	faults          *sampling.Sampler[string] // of outages, by the message; from Provision to Cleanup
	stopMaintaining func()                    // set by Start
}

// CaddyModule returns the module's registration.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "device_login", New: func() caddy.Module { return new(App) }}
}

// Provision checks the configuration. It opens neither store nor network: `caddy
// validate` provisions too, beside a running server that has the database open,
// and a Badger database can be opened once only.
func (a *App) Provision(ctx caddy.Context) (err error) {
	a.ctx, a.log, a.ready = ctx, ctx.Logger(), make(chan struct{})
	a.auditLogs = auditLogs(a.log)
	a.slog = slog.New(withoutContext{Handler: ctx.Slogger().Handler()})
	a.server, a.isLate, a.faults = new(atomic.Pointer[server]), new(atomic.Bool), sampling.Outages(a.moreFaults)
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
	a.emitter = emitter{
		subscribed: app.ShouldEmit,
		emit:       func(name string, data map[string]any) { app.Emit(ctx, name, data) },
	}
	if a.issuerState, err = acquireIssuerState(a.Issuer); err == nil {
		a.warned = new(sync.Once)
	}
	return err
}

// Start opens the store and begins to serve. Caddy may start the http app before
// this one: requests that arrive in between wait for the end of Start, bounded
// by startWait.
func (a *App) Start() (err error) {
	defer a.setReady()
	a.warn()
	a.pooledStore, err = a.open()
	switch {
	case err == nil:
		return a.begin(context.Background())
	case isAway(err) && a.issuerState.current.Load() == nil: // at a reload the configuration before goes on
		a.awaitStore(err)
		return nil
	}
	return err
}

// begin serves with the store that is open: it loads the signing keys, assembles
// the gateway and publishes the server for requests. The previous
// configuration's server is remembered, because Caddy may still reject this
// configuration when another app fails to start.
func (a *App) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	keys, err := a.openKeys(ctx)
	if err != nil {
		return err
	}
	login := a.engine
	login.PollState, login.Events = a.pooledStore.pollState, a.audit
	login.Polls = func(answer string) { polls.WithLabelValues(answer).Inc() }
	g, err := gateway.Open(ctx, measuredStorage{Storage: a.pooledStore.backend}, gateway.Config{
		Login: login, Upstreams: a.upstreams(), Keys: keys,
		Brand: a.Brand, Paths: a.Paths, Dialects: a.Dialects,
		ClientIP: clientIP, Place: a.clientPlace, Log: a.slog, Stopping: caddy.Exiting,
	})
	if err != nil {
		return err
	}
	if len(g.Upstreams) > 1 { // one alone has the address that the documentation names
		for _, u := range g.Upstreams {
			a.log.Info("the redirect URI to register at an upstream",
				zap.String("upstream", u.ID()), zap.String("redirect_uri", g.Handler().Pages.RedirectURI(u.ID())))
		}
	}
	a.dispatcher, a.sampler = newDispatcher(a.emitter, a.log), sampling.New(a.more)
	server := &server{
		engine: g.Engine, handler: g.Handler(), keys: keys, pooledStore: a.pooledStore,
		guards: a.readyGuards(g.Engine), grantCounter: newGrantCounter(),
	}
	server.health = a.newHealth(server)
	a.server.Store(server)
	a.maintain(g.Upstreams)
	server.previous = a.issuerState.current.Swap(server)
	return nil
}

// Stop answers all held polls at once, so that no poll delays the end of the
// configuration. The store stays open for the requests that are still under way;
// Cleanup closes it.
func (a *App) Stop() error {
	if a.stopWaiting != nil {
		a.stopWaiting()
	}
	if server := a.server.Load(); server != nil {
		server.retire(a.issuerState)
		server.engine.Close()
		a.stopMaintaining()
		a.sampler.Close()
		a.dispatcher.end()
	}
	return nil
}

// Cleanup releases what this configuration acquired, and nothing else: a
// configuration that failed to load must not close the database of the one that
// still serves.
func (a *App) Cleanup() (err error) {
	if a.warned != nil {
		a.warn() // if it was only validated
	}
	if a.setReady != nil {
		a.setReady()
		a.faults.Close()
	}
	if a.pooledStore != nil {
		err, a.pooledStore = a.pooledStore.release(), nil
	}
	if a.issuerState != nil {
		err = errors.Join(err, releaseIssuerState(a.Issuer)) // requests may still look at it
	}
	return err
}

var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
