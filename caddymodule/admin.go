package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/caddymodule/operator"
	"github.com/deviceauth/caddy-deviceauth/caddymodule/writers"
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

// Routes implements caddy.AdminRouter. The backup and the health check write their own
// responses.
func (a *Admin) Routes() []caddy.AdminRoute {
	const get, path = http.MethodGet + " ", adminapi.Path
	all := []caddy.AdminRoute{
		{Pattern: get + path + "clients", Handler: a.handler(a.listClients)},
		{Pattern: get + path + "backup", Handler: a.withServer(backup)},
		{Pattern: path + "health", Handler: caddy.AdminHandlerFunc(a.health)},
	}
	for _, route := range operator.Routes() {
		all = append(all, caddy.AdminRoute{
			Pattern: route.Method + " " + path + route.Path,
			Handler: a.handler(func(s *server, r *http.Request) (any, error) {
				return route.Do(operator.Server{Engine: s.engine, Keys: s.keys}, r)
			}),
		})
	}
	return all
}

// handler wraps a function whose result is sent as JSON. Errors of the function are
// mapped to a status by operator.Error.
func (a *Admin) handler(do func(*server, *http.Request) (any, error)) caddy.AdminHandlerFunc {
	return a.withServer(func(s *server, w http.ResponseWriter, r *http.Request) error {
		result, err := do(s, r)
		if err != nil {
			return operator.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		return json.NewEncoder(w).Encode(result)
	})
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
		if err := reqbody.Buffer(w, r, operator.MaxBody, caddy.Exiting); err != nil { // before the store is acquired
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
	to := writers.NewDownload(w, caddy.Exiting)
	defer to.End()
	// During a shutdown the store may be closed after the call was abandoned: by then
	// the download has been aborted, and nothing reads from the store.
	if err := s.pooledStore.Run(func() error { return store.Backup(r.Context(), to) }); err != nil {
		caddy.Log().Named("device_login").Error("a backup broke off", zap.Error(err))
		panic(http.ErrAbortHandler) // any other way would end the response properly
	}
	return nil
}

// A clientView is a client without its secret, configured or introduced by itself.
type clientView struct {
	Client
	Public     bool                   `json:"public"`
	Introduced *adminapi.Introduction `json:"introduced,omitempty"` // nil: it is in the configuration
}

// listClients lists the configured clients, and those that introduced themselves. The
// range variable is a copy, so clearing the secret does not change the configuration.
func (a *Admin) listClients(s *server, r *http.Request) (any, error) {
	list := make([]clientView, len(a.app.Clients))
	for i, c := range a.app.Clients {
		public := c.Secret == nil
		c.Secret, c.Name = nil, cmp.Or(c.Name, c.ID)
		list[i] = clientView{Client: c, Public: public}
	}
	introduced, err := s.engine.IntroducedClients(r.Context())
	if err != nil {
		return nil, err
	}
	for _, c := range introduced {
		list = append(list, clientView{
			Client: Client{
				ID: c.ID, Name: c.Name, Maker: c.Vendor, Scopes: c.Scope.List(),
				Redirects: c.Redirects, Origins: c.Origins,
			},
			Public: c.Public,
			Introduced: &adminapi.Introduction{
				Host: c.Host, Since: c.Since, Used: c.Used, Approved: c.Approved,
			},
		})
	}
	return list, nil
}

var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Provisioner = (*Admin)(nil)
)
