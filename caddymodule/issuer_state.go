package caddymodule

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/writers"
	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/gateway"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/internal/probe"
)

// A server is built by begin: the engine and everything that needs an open store.
type server struct {
	engine       *deviceauth.Engine
	handler      *gateway.Handler
	keys         *keyring.Keyring
	pooledStore  *pooledStore
	guards       map[*Guard]*guard.Guard
	grantCounter *grantCounter
	health       *probe.Probe

	previous *server     // of the previous configuration; serves again if this one is discarded
	stopped  atomic.Bool // its configuration has been stopped
}

// retire takes a server out of service when its configuration stops. If it was the
// current one, the previous server serves again, unless that was stopped, too: Caddy
// discards a configuration if another of its apps fails to start.
func (s *server) retire(l *issuerState) {
	s.stopped.Store(true)
	before := s.previous
	if before != nil && before.stopped.Load() {
		before = nil
	}
	l.current.CompareAndSwap(s, before)
	s.previous = nil // otherwise all servers since the start would stay in memory
}

// guard returns the token guard of a guard. A guard of a discarded configuration is
// served by the previous server, which has no token guard for it and creates one for
// the request.
func (s *server) guard(g *Guard) *guard.Guard {
	if ready := s.guards[g]; ready != nil {
		return ready
	}
	return guard.New(g.config(), s.engine)
}

// issuerState is what successive configurations of an issuer share: the current
// server, the client metadata documents in the cache, and the responses that must end
// with their grants. A request that reaches a
// configuration which Caddy then discards is answered by the previous server.
type issuerState struct {
	current   atomic.Pointer[server]
	streams   writers.Streams
	documents func(ctx context.Context, url string) ([]byte, error) // fetches client metadata documents
	stop      func()                                                // ends the goroutine that watches the streams
}

// issuerStates has the state of each issuer of the process, with the number of
// configurations that use it.
var issuerStates = caddy.NewUsagePool()

// acquireIssuerState returns the state of an issuer. For the first configuration it
// creates the state, and starts the goroutine that aborts streams.
func acquireIssuerState(issuer string) (*issuerState, error) {
	value, _, err := issuerStates.LoadOrNew(issuer, func() (caddy.Destructor, error) {
		ctx, stop := context.WithCancel(context.Background())
		l, done := new(issuerState), make(chan struct{})
		if at, err := url.Parse(issuer); err == nil { // else the engine refuses it
			l.documents = gateway.DocumentFetcher(at)
		}
		l.stop = func() { stop(); <-done }
		go func() { defer close(done); l.streams.Watch(ctx, l.isActive) }()
		return l, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*issuerState), nil
}

// Destruct implements caddy.Destructor.
func (l *issuerState) Destruct() error {
	l.stop()
	return nil
}

// isActive reports whether a grant is active. If that is unknown, because there is no
// current server or its store is unavailable, the stream continues: an outage must
// not disconnect all devices.
func (l *issuerState) isActive(ctx context.Context, grant deviceauth.ID) bool {
	server := l.current.Load()
	if server == nil || !server.pooledStore.BeginUse() {
		return true
	}
	defer server.pooledStore.EndUse()
	alive, err := server.engine.IsActive(ctx, grant)
	return alive || err != nil
}

// startWait limits how long a request waits for Start, before it is answered with
// 503.
const startWait = 10 * time.Second

// errStarting is the error while there is no current server.
var errStarting = errors.New("the device login is not ready")

// currentServer returns the current server, or nil if there is none. It waits for Start,
// at most for startWait: Caddy's http app may accept requests before all apps of the
// configuration have started. If this configuration did not start, it is the previous
// one.
func (a *App) currentServer(ctx context.Context) *server {
	select {
	case <-a.ready:
	default:
		timeout := time.NewTimer(startWait)
		defer timeout.Stop()
		select {
		case <-a.ready:
		case <-ctx.Done():
		case <-timeout.C:
		}
	}
	if s := a.server.Load(); s != nil {
		return s
	}
	return a.issuerState.current.Load()
}

// receive reads the body of a request to the endpoints and pages. It reports whether
// to continue with the request; otherwise it has written the response. The store is
// not acquired meanwhile: a slow client would keep it from being closed.
func (a *App) receive(w http.ResponseWriter, r *http.Request) bool {
	if r.Body == nil || r.Body == http.NoBody {
		return true
	}
	s := a.currentServer(r.Context())
	return s == nil || s.handler.Receive(w, r)
}

// acquire returns the current server with its store kept open, and a function that
// releases the store, which the caller must call. Without a current server it returns
// errStarting.
func (a *App) acquire(r *http.Request) (*server, func(), error) {
	s := a.currentServer(r.Context())
	if s == nil || !s.pooledStore.BeginUse() {
		return nil, nil, errStarting
	}
	return s, s.pooledStore.EndUse, nil
}

// unavailable returns the error for a request that cannot be answered because of a
// fault of the server: 503 with Retry-After.
func unavailable(w http.ResponseWriter, err error) error {
	w.Header().Set("Retry-After", "5")
	return caddyhttp.Error(http.StatusServiceUnavailable, err)
}
