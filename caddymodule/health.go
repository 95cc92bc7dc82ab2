package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/oauthapi"
	"github.com/deviceauth/caddy-deviceauth/internal/probe"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// The health check, for load balancers, containers and monitoring. It is on the admin
// endpoint, and optionally on the issuer's site, where anyone may call it any number
// of times, so the store must not be accessed each time.

// Reasons why the device login does not work. They are public, so the store's own
// errors, which may contain hosts and users, are only logged.
var (
	errStoreAway   = errors.New("the store is away since the start, and is waited for")
	errStoreSilent = errors.New("the store does not answer")
	errStoreFails  = errors.New("the store answers with an error, which is in the log")
	errStopping    = errors.New("the store is being closed")
)

// newHealth returns the health of a server. It logs the errors of the store.
func (a *App) newHealth(s *server) *probe.Probe {
	return &probe.Probe{Silent: errStoreSilent, Run: func(ctx context.Context) error {
		// A store that is being closed is not checked: during a stop that is not a
		// fault.
		if !s.pooledStore.BeginUse() {
			return errStopping
		}
		defer s.pooledStore.EndUse()
		err := s.keys.Health(ctx)
		if errors.Is(err, keyring.ErrLost) {
			// The keys are in memory, so they are written back now, and not only at the next
			// maintenance: a load balancer would take all gateways away meanwhile.
			if failed := s.keys.Maintain(ctx); failed != nil {
				a.fault("the signing keys cannot be written back", failed)
			} else {
				err = s.keys.Health(ctx)
			}
		}
		switch {
		// The error of a lost signing key is safe to publish.
		case err == nil || errors.Is(err, keyring.ErrLost):
			return err
		case ctx.Err() != nil, isSilence(err):
			return errStoreSilent
		}
		a.fault("the store failed at a look at its health", err)
		return errStoreFails
	}}
}

// isSilence reports whether an error means that a store did not respond in time.
func isSilence(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

// checkHealth returns nil if the device login works, or else the reason why not.
func (a *App) checkHealth(ctx context.Context) error {
	// One deadline covers the wait for Start and the store's check.
	ctx, cancel := context.WithTimeout(ctx, probe.Wait)
	defer cancel()
	s := a.currentServer(ctx)
	switch {
	case s != nil:
		return s.health.Check(ctx)
	case a.isLate.Load():
		return errStoreAway
	}
	return errStarting
}

// fault logs an error that may occur with every request during an outage: the first
// one, and then once a minute the number of further ones.
func (a *App) fault(message string, err error) {
	if a.faults.Pass(message) {
		a.log.Error(message, zap.Error(err))
	}
}

// logOmittedFaults logs how many errors fault has omitted.
func (a *App) logOmittedFaults(message string, n int) { a.log.Error(message, zap.Int("more", n)) }

// checkHealthPath checks that no endpoint, page or dialect uses the health path.
func (a *App) checkHealthPath() error {
	if a.Health == "" {
		return nil
	}
	return oauthapi.CheckFree("health", a.Health, a.Paths, a.Dialects, a.Issuer)
}

// serveHealth responds with 200 or 503, and a JSON object with the reason. It
// accesses the store at most once in probe.Reuse, regardless of the number of
// requests.
func (a *App) serveHealth(w http.ResponseWriter, r *http.Request) error {
	reqbody.Discard(w, r, caddy.Exiting)
	// Only safe methods are allowed (RFC 9110 §9.2.1).
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
	// A cache must not store a momentary state.
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(view)
}

// health serves the route /device_login/health of the admin endpoint.
func (a *Admin) health(w http.ResponseWriter, r *http.Request) error {
	if a.app == nil {
		return errNoDeviceLogin
	}
	return a.app.serveHealth(w, r)
}
