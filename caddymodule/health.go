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

// Whether the device login works, for load balancers, containers and monitoring:
// on the admin endpoint, and where the configuration says so on the issuer's
// site. There anyone may ask as often as they like, so the store must not be
// asked each time.

const (
	healthWait  = time.Second            // the longest that the store may take
	healthReuse = 250 * time.Millisecond // how long a result of the store is used again
)

// The reasons why a device login does not work. They are public, so the store's
// own errors, which may name hosts and users, are in the log alone.
var (
	errStoreAway   = errors.New("the store is away since the start, and is waited for")
	errStoreSilent = errors.New("the store does not answer")
	errStoreFails  = errors.New("the store answers with an error, which is in the log")
	errStopping    = errors.New("the store is being closed")
)

// A health shares one check of the store among all who ask at the same time.
type health struct {
	probe func(context.Context) error // may hang, whatever its context says

	mu   sync.Mutex
	last *healthCheck // under way, or the latest that has ended
}

// A healthCheck is one check of the store. Once done is closed, ended and err are
// its result, and do not change any more.
type healthCheck struct {
	began time.Time
	done  chan struct{}
	ended time.Time
	err   error
}

// check reports what is wrong, after healthWait at the latest. A check of the
// store that hangs is waited for once: later callers get errStoreSilent at once,
// and no second check begins before the first has ended.
func (h *health) check(ctx context.Context) error {
	// The wait counts from the start of the check, so that callers who join late
	// wait no longer than the first.
	l := h.join()
	timeout := time.NewTimer(time.Until(l.began.Add(healthWait)))
	defer timeout.Stop()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
	case <-timeout.C:
		select {
		case <-l.done: // it ended at the same moment
			return l.err
		default:
		}
	}
	return errStoreSilent
}

// join returns the check of the store to wait for: the one under way, a recent
// one, or a new one.
func (h *health) join() *healthCheck {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.last; l != nil {
		// A check that is under way is joined, however long it takes; one that
		// ended is used again for healthReuse.
		select {
		case <-l.done:
			if time.Since(l.ended) < healthReuse {
				return l
			}
		default:
			return l
		}
	}
	l := &healthCheck{began: time.Now(), done: make(chan struct{})}
	h.last = l
	go func() { // not bound to the caller's context, because others wait for the same result
		ctx, cancel := context.WithTimeout(context.Background(), healthWait)
		defer cancel()
		l.err = h.probe(ctx)
		l.ended = time.Now()
		close(l.done)
	}()
	return l
}

// newHealth makes the health of a server. Errors of its store are logged here.
func (a *App) newHealth(s *server) *health {
	return &health{probe: func(ctx context.Context) error {
		// The health of a store that is being closed is not asked for: at a stop
		// that is no fault.
		if !s.pooledStore.beginUse() {
			return errStopping
		}
		defer s.pooledStore.endUse()
		err := s.keys.Health(ctx)
		switch {
		// A lost signing key has a text of its own that is safe to publish.
		case err == nil || errors.Is(err, keyring.ErrLost):
			return err
		case ctx.Err() != nil:
			return errStoreSilent
		}
		a.fault("the store failed at a look at its health", err)
		return errStoreFails
	}}
}

// checkHealth returns why the device login does not work, nil where it works.
func (a *App) checkHealth(ctx context.Context) error {
	// One deadline covers the wait for Start and the store's check.
	ctx, cancel := context.WithTimeout(ctx, healthWait)
	defer cancel()
	s := a.currentServer(ctx)
	switch {
	case s != nil:
		return s.health.check(ctx)
	case a.isLate.Load():
		return errStoreAway
	}
	return errStarting
}

// fault logs an error that may occur on every request during an outage: the
// first time, and then once a minute the number of the others.
func (a *App) fault(message string, err error) {
	if a.faults.Pass(message) {
		a.log.Error(message, zap.Error(err))
	}
}

// moreFaults logs how many errors fault has left out.
func (a *App) moreFaults(message string, n int) { a.log.Error(message, zap.Int("more", n)) }

// checkHealthPath wants a path that no endpoint, page or dialect has.
func (a *App) checkHealthPath() error {
	if a.Health == "" {
		return nil
	}
	return oauthapi.CheckFree("health", a.Health, a.Paths, a.Dialects, a.Issuer)
}

// serveHealth answers 200 or 503, with a JSON object that has the reason. The
// store is asked at most once every healthReuse, however many ask.
func (a *App) serveHealth(w http.ResponseWriter, r *http.Request) error {
	reqbody.Discard(w, r, caddy.Exiting)
	// Only reading methods are allowed, as RFC 9110 §9.2.1 defines safe ones.
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
	// A cache must never store the state of a moment.
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(view)
}

// health is the route /device_login/health of the admin endpoint.
func (a *Admin) health(w http.ResponseWriter, r *http.Request) error {
	if a.app == nil {
		return errNoDeviceLogin
	}
	return a.app.serveHealth(w, r)
}
