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

// Admin serves the routes under /device_login/ of Caddy's admin endpoint, which
// the command device-auth uses. The admin endpoint authenticates its callers, or
// listens where only the operator reaches it; so no route here checks who asks.
type Admin struct{ app *App }

// CaddyModule returns the module's registration.
func (Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.device_login", New: func() caddy.Module { return new(Admin) }}
}

// Provision finds the app, where there is one. It reports no error of the app:
// Caddy reports that when it loads the app itself.
func (a *Admin) Provision(ctx caddy.Context) error {
	if app, err := ctx.AppIfConfigured("device_login"); err == nil {
		a.app = app.(*App)
	}
	return nil
}

// Routes implements caddy.AdminRouter. Each route that has JSON to say is a
// function of the server and the request; a backup and the health check write
// their own response.
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

// handler wraps a function whose result is sent as JSON. An error of the
// function becomes the status that apiError finds for it.
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

// apiError maps an error to the status of the admin endpoint. The protocol's
// refusal is the caller's mistake (400) and its description is safe to send; an
// unknown grant is 404; any other error means that the store is away (503).
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

// errNoDeviceLogin is the response where the configuration has no app
// device_login, so that there is nothing to administer.
var errNoDeviceLogin = caddy.APIError{
	HTTPStatus: http.StatusNotFound, Err: errors.New("this Caddy has no device_login"),
}

// withServer wraps a route in the wait for the app and its store. The store stays
// open until the route returns. The body is read before: a caller who sends it
// slowly would otherwise keep the store from being closed at a reload.
func (a *Admin) withServer(do func(*server, http.ResponseWriter, *http.Request) error) caddy.AdminHandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if a.app == nil {
			return errNoDeviceLogin
		}
		if err := reqbody.Buffer(w, r, maxPauseRequest, caddy.Exiting); err != nil { // before the store is held
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

// backup streams all records of the store, one JSON object on each line. The
// last line says that the backup is complete; a restore refuses a file without
// that line, so a backup that broke off is never taken for a whole one. Redis
// has its own means, and answers 501 here.
func backup(s *server, w http.ResponseWriter, r *http.Request) error {
	store, ok := s.pooledStore.opened.(interface {
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
	write := func() (struct{}, error) { return struct{}{}, store.Backup(r.Context(), to) }
	// At an exit the store may close once the call is abandoned: by then the
	// download has already broken off, and nothing is read any more.
	if _, err := callUntil(s.pooledStore.deadline, func() {}, write); err != nil {
		caddy.Log().Named("device_login").Error("a backup broke off", zap.Error(err))
		panic(http.ErrAbortHandler) // anything else would be a proper end
	}
	return nil
}

// listKeys lists the signing keys and their states, without their private
// halves.
func listKeys(s *server, _ *http.Request) (any, error) { return s.keys.Keys(), nil }

// rotateKeys begins a new signing key ahead of the schedule, and lists the keys
// afterwards. The new key signs once it has been published long enough for
// everyone to have fetched it.
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
