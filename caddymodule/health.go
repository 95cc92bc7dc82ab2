package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// Whether the device login works, for load balancers, containers and monitoring: on
// the admin endpoint, and where the configuration says so on the issuer's site, where
// anybody may ask as often as they like.

const (
	healthWait = time.Second            // how long the store has for its answer
	healthRest = 250 * time.Millisecond // how long an answer of the store counts
)

// What is said of a device login that does not work. Errors of a store are in the log
// alone: they may name hosts and users.
var (
	errStoreAway   = errors.New("the store is away since the start, and is waited for")
	errStoreSilent = errors.New("the store does not answer")
	errStoreFails  = errors.New("the store answers with an error, which is in the log")
	errStopping    = errors.New("the store is being closed")
)

// A health shares one look at the store among all who ask at once.
type health struct {
	look func(context.Context) error // may hang, whatever its context says

	mu   sync.Mutex
	last *healthLook // under way, or the one that ended last
}

// A healthLook is one look. When done is closed, ended and err say what came of it.
type healthLook struct {
	began time.Time
	done  chan struct{}
	ended time.Time
	err   error
}

// check reports what is wrong, after healthWait at the latest. A look that hangs is
// neither waited for again nor repeated until it has ended.
func (h *health) check(ctx context.Context) error {
	l := h.join()
	timeout := time.NewTimer(time.Until(l.began.Add(healthWait)))
	defer timeout.Stop()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
	case <-timeout.C:
		select {
		case <-l.done: // just now, or after all
			return l.err
		default:
		}
	}
	return errStoreSilent
}

// join returns the look to wait for.
func (h *health) join() *healthLook {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.last; l != nil {
		select {
		case <-l.done:
			if time.Since(l.ended) < healthRest {
				return l
			}
		default:
			return l
		}
	}
	l := &healthLook{began: time.Now(), done: make(chan struct{})}
	h.last = l
	go func() { // it outlives whoever asked; its context, or the store, ends it
		ctx, cancel := context.WithTimeout(context.Background(), healthWait)
		defer cancel()
		l.err = h.look(ctx)
		l.ended = time.Now()
		close(l.done)
	}()
	return l
}

// newHealth looks at a server's store, and tells the log what its errors are.
func (a *App) newHealth(s *server) *health {
	return &health{look: func(ctx context.Context) error {
		if !s.pooledStore.beginUse() {
			return errStopping
		}
		defer s.pooledStore.endUse()
		err := s.keys.Health(ctx)
		switch {
		case err == nil || errors.Is(err, keyring.ErrLost):
			return err
		case ctx.Err() != nil:
			return errStoreSilent
		}
		a.fault("the store failed at a look at its health", err)
		return errStoreFails
	}}
}

// checkHealth reports what keeps the device login from working.
func (a *App) checkHealth(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	s := a.serves(ctx)
	switch {
	case s != nil:
		return s.health.check(ctx)
	case a.isLate.Load():
		return errStoreAway
	}
	return errStarting
}

// fault writes an error line of which there may be one for every request while
// something is away: the first, and then the number of the rest once a minute.
func (a *App) fault(message string, err error) {
	if a.faults.Pass(message) {
		a.log.Error(message, zap.Error(err))
	}
}

func (a *App) moreFaults(message string, n int) { a.log.Error(message, zap.Int("more", n)) }

// checkHealthPath wants a path that nothing else answers.
func (a *App) checkHealthPath() error {
	if a.Health == "" {
		return nil
	}
	return oauthapi.CheckFree("health", a.Health, a.Paths, a.Dialects, a.Issuer)
}

// serveHealth answers 200 or 503.
func (a *App) serveHealth(w http.ResponseWriter, r *http.Request) error {
	reqbody.Discard(w, r, caddy.Exiting)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	status, view := http.StatusOK, adminapi.Health{Status: "ok"}
	if err := a.checkHealth(r.Context()); err != nil {
		status, view = http.StatusServiceUnavailable, adminapi.Health{Status: "unavailable", Reason: err.Error()}
		w.Header().Set("Retry-After", "5")
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(view)
}

// health is the route of the admin endpoint.
func (a *Admin) health(w http.ResponseWriter, r *http.Request) error {
	if a.app == nil {
		return errNoDeviceLogin
	}
	return a.app.serveHealth(w, r)
}
