package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
)

// server is what Start builds.
type server struct {
	engine      *deviceauth.Engine
	handler     *gateway.Handler
	keys        *keyring.Keyring
	pooledStore *pooledStore
	guards      map[*Guard]*guard.Guard
	census      *census
	health      *health

	previous *server     // of the configuration before, as long as this one may come to nothing
	stopped  atomic.Bool // serves no more
}

// retire takes a server out of service: the one before serves again, if it still
// does.
func (s *server) retire(l *issuerState) {
	s.stopped.Store(true)
	before := s.previous
	if before != nil && before.stopped.Load() {
		before = nil
	}
	l.current.CompareAndSwap(s, before)
	s.previous = nil // or all would be remembered
}

// readyGuards makes the guards ready.
func (a *App) readyGuards(engine *deviceauth.Engine) map[*Guard]*guard.Guard {
	all := map[*Guard]*guard.Guard{}
	for _, g := range a.guards {
		all[g] = guard.New(g.config(), engine)
	}
	return all
}

// warnOfOpenGuards warns of guards that take a token for any API of the server,
// where there are several: a token for one of them is good at the others
// (RFC 8707 §2.2 has audiences to prevent that).
func (a *App) warnOfOpenGuards(audiences []string) {
	open := 0
	for _, g := range a.guards {
		if len(g.Audience) == 0 {
			open++
		}
	}
	if open > 0 && len(audiences) > 1 {
		a.log.Warn("a guard without audience accepts tokens for all audiences of the server: name in its block those that it is for",
			zap.Int("guards", open), zap.Strings("audiences", audiences))
	}
}

// guard returns a guard made ready. One of a configuration that came to
// nothing is served by the one before, which does not know it.
func (s *server) guard(g *Guard) *guard.Guard {
	if ready := s.guards[g]; ready != nil {
		return ready
	}
	return guard.New(g.config(), s.engine)
}

// issuerState is what the configurations of one issuer have in common, one after
// the other: which server serves. A request that reaches a configuration which
// then comes to nothing is answered by the one before.
type issuerState struct {
	current atomic.Pointer[server]
	streams streams
	stop    func() // ends watching the streams
}

// issuerStates are the issuers of the process.
var issuerStates = caddy.NewUsagePool()

func acquireIssuerState(issuer string) (*issuerState, error) {
	value, _, err := issuerStates.LoadOrNew(issuer, func() (caddy.Destructor, error) {
		ctx, stop := context.WithCancel(context.Background())
		l, done := new(issuerState), make(chan struct{})
		l.stop = func() { stop(); <-done }
		go func() { defer close(done); l.watch(ctx) }()
		return l, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*issuerState), nil
}

func releaseIssuerState(issuer string) error {
	_, err := issuerStates.Delete(issuer)
	return err
}

// Destruct implements caddy.Destructor.
func (l *issuerState) Destruct() error {
	l.stop()
	return nil
}

// startWait bounds how long a request waits for Start.
const startWait = 10 * time.Second

var errStarting = errors.New("the device login is not ready")

// serves returns the server that serves now, if any does.
func (a *App) serves(ctx context.Context) *server {
	if s := a.await(ctx); s != nil {
		return s
	}
	return a.issuerState.current.Load() // this configuration came to nothing: the one before still serves
}

// receive waits for the body of a request to the endpoints and pages. It holds
// no store meanwhile, or a slow client would keep that from being closed.
func (a *App) receive(w http.ResponseWriter, r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody {
		return true
	}
	s := a.serves(r.Context())
	return s == nil || s.handler.Receive(w, r)
}

// serving returns the server, and a function that tells when the request has
// done with it. The error is errStarting.
func (a *App) serving(r *http.Request) (*server, func(), error) {
	s := a.serves(r.Context())
	if s == nil || !s.pooledStore.beginUse() {
		return nil, nil, errStarting
	}
	return s, s.pooledStore.endUse, nil
}

// await waits for Start. It returns nil where that failed or takes too long:
// the http app may take requests before the configuration is known to be good.
func (a *App) await(ctx context.Context) *server {
	select {
	case <-a.ready:
		return a.server.Load()
	default:
	}
	timeout := time.NewTimer(startWait)
	defer timeout.Stop()
	select {
	case <-a.ready:
		return a.server.Load()
	case <-ctx.Done():
	case <-timeout.C:
	}
	return nil
}

// unavailable is what a fault of ours looks like at a guard.
func unavailable(w http.ResponseWriter, err error) error {
	w.Header().Set("Retry-After", "5")
	return caddyhttp.Error(http.StatusServiceUnavailable, err)
}
