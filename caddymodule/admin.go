package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/reqbody"
)

// Admin serves the routes under /device_login/ of Caddy's admin endpoint, which the
// command device-auth uses. The routes do not authenticate: the admin endpoint itself
// authenticates its clients, or is reachable only for the operator.
type Admin struct{ app *App }

// CaddyModule returns the module's registration.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.device_login", New: func() caddy.Module { return new(Admin) }}
}

// Provision finds the app, if it is configured. It does not report errors of the app,
// which Caddy reports when it loads the app itself.
func (a *Admin) Provision(ctx caddy.Context) error {
	if app, err := ctx.AppIfConfigured("device_login"); err == nil {
		a.app = app.(*App)
	}
	return nil
}

// Routes implements caddy.AdminRouter. Each route that responds with JSON is a
// function of the server and the request; the backup and the health check write their
// own responses.
func (a *Admin) Routes() []caddy.AdminRoute {
	route := func(method, path string, do func(*server, *http.Request) (any, error)) caddy.AdminRoute {
		return caddy.AdminRoute{Pattern: method + " " + adminapi.Path + path, Handler: a.handler(do)}
	}
	return []caddy.AdminRoute{
		route(http.MethodGet, "grants", listGrants),
		route(http.MethodGet, "grants/{id}", showGrant),
		route(http.MethodDelete, "grants/{id}", endGrant),
		route(http.MethodDelete, "sessions", endSessions),
		route(http.MethodGet, "clients", a.listClients),
		route(http.MethodPost, "clients/approve", approveClient),
		route(http.MethodDelete, "clients", removeClient),
		route(http.MethodGet, "paused", showPause),
		route(http.MethodPost, "pause", pause),
		route(http.MethodPost, "resume", resume),
		route(http.MethodGet, "keys", listKeys),
		route(http.MethodPost, "keys/rotate", rotateKeys),
		{Pattern: http.MethodGet + " " + adminapi.Path + "backup", Handler: a.withServer(backup)},
		{Pattern: adminapi.Path + "health", Handler: caddy.AdminHandlerFunc(a.health)},
	}
}

// handler wraps a function whose result is sent as JSON. Errors of the function are
// mapped to a status by apiError.
func (a *Admin) handler(do func(*server, *http.Request) (any, error)) caddy.AdminHandlerFunc {
	return a.withServer(func(s *server, w http.ResponseWriter, r *http.Request) error {
		result, err := do(s, r)
		if err != nil {
			return apiError(err)
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(result)
	})
}

// apiError maps an error to a status of the admin endpoint. A refusal by the protocol
// is the client's mistake (400), and its description is safe to send; an unknown
// grant is 404; any other error means that the store is unavailable (503).
func apiError(err error) error {
	var apiErr caddy.APIError
	refusal := deviceauth.AsError(err)
	switch {
	case errors.As(err, &apiErr):
		return apiErr
	case refusal != nil && refusal.Code == "not_found":
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: errors.New(refusal.Description)}
	case refusal != nil:
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: errors.New(refusal.Description)}
	case errors.Is(err, deviceauth.ErrNotFound):
		return caddy.APIError{
			HTTPStatus: http.StatusNotFound,
			Err:        errors.New("there is no such grant, or it has been forgotten since"),
		}
	}
	return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
}

// errNoDeviceLogin is the response if the configuration has no app device_login, so
// that there is nothing to administer.
var errNoDeviceLogin = caddy.APIError{
	HTTPStatus: http.StatusNotFound, Err: errors.New("this Caddy has no device_login"),
}

// withServer wraps a route with the wait for the app and its store. The store stays
// open until the route returns. The body is read before the store is acquired:
// otherwise a client that sends it slowly would keep the store from being closed at a
// reload.
func (a *Admin) withServer(do func(*server, http.ResponseWriter, *http.Request) error) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if a.app == nil {
			return errNoDeviceLogin
		}
		if err := reqbody.Buffer(w, r, maxPauseRequest, caddy.Exiting); err != nil { // before the store is acquired
			return caddy.APIError{HTTPStatus: http.StatusRequestTimeout, Err: err}
		}
		s, release, err := a.app.acquire(r)
		if err != nil {
			return caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
		}
		defer release()
		return do(s, w, r)
	}
}

// backup streams all records of the store, one JSON object on each line. The last
// line marks the backup as complete; a restore refuses a file without it, so a
// truncated backup is never mistaken for a complete one. For a Redis store, which has
// its own backups, the response is 501.
func backup(s *server, w http.ResponseWriter, r *http.Request) error {
	store, ok := s.pooledStore.Opened().(interface {
		Backup(context.Context, io.Writer) error
	})
	if !ok {
		return caddy.APIError{
			HTTPStatus: http.StatusNotImplemented,
			Err:        errors.New("only a badger store is backed up this way; a Redis has its own"),
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	to := newDownload(w, caddy.Exiting)
	defer to.end()
	// During a shutdown the store may be closed after the call was abandoned: by then
	// the download has been aborted, and nothing reads from the store.
	if err := s.pooledStore.Run(func() error { return store.Backup(r.Context(), to) }); err != nil {
		caddy.Log().Named("device_login").Error("a backup broke off", zap.Error(err))
		panic(http.ErrAbortHandler) // any other way would end the response properly
	}
	return nil
}

// listKeys lists the signing keys and their states, without their private parts.
func listKeys(s *server, _ *http.Request) (any, error) { return s.keys.Keys(), nil }

// rotateKeys creates a new signing key ahead of schedule, and lists the keys
// afterwards. The new key signs once it has been published long enough for all
// clients to have fetched it.
func rotateKeys(s *server, r *http.Request) (any, error) {
	if err := s.keys.Rotate(r.Context()); err != nil {
		return nil, err
	}
	return s.keys.Keys(), nil
}

var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
