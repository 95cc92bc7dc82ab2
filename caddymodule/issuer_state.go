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

// A server is what Start builds: the engine and all that needs an open store.
type server struct {
	engine       *deviceauth.Engine
	handler      *gateway.Handler
	keys         *keyring.Keyring
	pooledStore  *pooledStore
	guards       map[*Guard]*guard.Guard
	grantCounter *grantCounter
	health       *health

	previous *server     // of the configuration before, which serves again if this one is dropped
	stopped  atomic.Bool // its configuration was stopped
}

// retire takes a server out of service when its configuration stops. Where that
// configuration was the latest, the server before serves again, unless it was
// stopped, too: Caddy drops a configuration of which another app fails to start.
func (s *server) retire(l *issuerState) {
	s.stopped.Store(true)
	before := s.previous
	if before != nil && before.stopped.Load() {
		before = nil
	}
	l.current.CompareAndSwap(s, before)
	s.previous = nil // or every server since the start would stay in memory
}

// readyGuards makes the token guard of each guard of the configuration.
func (a *App) readyGuards(engine *deviceauth.Engine) map[*Guard]*guard.Guard {
	all := map[*Guard]*guard.Guard{}
	for _, g := range a.guards {
		all[g] = guard.New(g.config(), engine)
	}
	return all
}

// warnOfOpenGuards warns of guards without an audience where the server has
// several APIs: a token for one API is then accepted at the others, which the
// audiences of RFC 8707 §2.2 are there to prevent.
func (a *App) warnOfOpenGuards(audiences []string) {
	open := 0
	for _, g := range a.guards {
		if len(g.Audience) == 0 {
			open++
		}
	}
	if open > 0 && len(audiences) > 1 {
		a.log.Warn("a guard without audience accepts tokens for all audiences of the server: "+
			"name in its block those that it is for",
			zap.Int("guards", open), zap.Strings("audiences", audiences))
	}
}

// guard returns the token guard of a guard. A guard of a configuration that was
// dropped is served by the server before, which has no token guard for it and
// makes one for the request.
func (s *server) guard(g *Guard) *guard.Guard {
	if ready := s.guards[g]; ready != nil {
		return ready
	}
	return guard.New(g.config(), s.engine)
}

// issuerState is what successive configurations of one issuer share: which
// server serves, and the responses that must end with their grants. A request
// that reaches a configuration which Caddy then drops is answered by the server
// before.
type issuerState struct {
	current atomic.Pointer[server]
	streams streams
	stop    func() // ends the goroutine that watches the streams
}

// issuerStates has the state of each issuer of the process, counted by the
// configurations that use it.
var issuerStates = caddy.NewUsagePool()

// acquireIssuerState returns the state of an issuer, and makes it for the first
// configuration, with the goroutine that breaks streams off.
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

// releaseIssuerState undoes one acquireIssuerState. The last release ends the
// goroutine.
func releaseIssuerState(issuer string) error {
	_, err := issuerStates.Delete(issuer)
	return err
}

// Destruct implements caddy.Destructor.
func (l *issuerState) Destruct() error {
	l.stop()
	return nil
}

// startWait bounds how long a request waits for Start. After that the request is
// answered 503.
const startWait = 10 * time.Second

// errStarting is the error while no server serves.
var errStarting = errors.New("the device login is not ready")

// currentServer returns the server that serves now, nil where none does. If this
// configuration did not start, the server before answers.
func (a *App) currentServer(ctx context.Context) *server {
	if s := a.awaitStart(ctx); s != nil {
		return s
	}
	return a.issuerState.current.Load()
}

// receive reads the body of a request to the endpoints and pages, and reports
// whether the request goes on; where it does not, it has been answered. The
// store is not held open meanwhile: a slow client would keep it from being
// closed.
func (a *App) receive(w http.ResponseWriter, r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody {
		return true
	}
	s := a.currentServer(r.Context())
	return s == nil || s.handler.Receive(w, r)
}

// acquire returns the server with its store held open, and a function that
// releases the store; every caller must call that function. Where no server
// serves, the error is errStarting.
func (a *App) acquire(r *http.Request) (*server, func(), error) {
	s := a.currentServer(r.Context())
	if s == nil || !s.pooledStore.beginUse() {
		return nil, nil, errStarting
	}
	return s, s.pooledStore.endUse, nil
}

// awaitStart waits for Start, and returns nil where Start failed or takes longer than
// startWait. Caddy's http app may accept requests before all apps of the
// configuration have started.
func (a *App) awaitStart(ctx context.Context) *server {
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

// unavailable is the error of a request that cannot be answered because of a
// fault on our side: 503 with Retry-After.
func unavailable(w http.ResponseWriter, err error) error {
	w.Header().Set("Retry-After", "5")
	return caddyhttp.Error(http.StatusServiceUnavailable, err)
}
