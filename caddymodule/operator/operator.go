// Package operator has the routes of the admin endpoint with which an operator inspects and
// ends grants and sessions, manages clients and keys, and pauses the device login. It
// decides which requests are mistakes, and what is shown; the engine and the keyring
// decide the rest. The module admin.api.device_login of caddymodule calls it, which
// authenticates nothing: the admin endpoint does, or only the operator reaches it.
package operator

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/keyring"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// A Server is what the routes are about.
type Server struct {
	Engine *deviceauth.Engine // of grants, sessions, clients and the pause
	Keys   *keyring.Keyring   // the signing keys
}

// A Route is one request that an operator may send.
type Route struct {
	Method string
	Path   string // a pattern of net/http, below adminapi.Path
	// Do returns what is sent as JSON, or an error for [Error].
	Do func(Server, *http.Request) (any, error)
}

// Routes returns all routes whose response is JSON that depends on a Server alone.
func Routes() []Route {
	return []Route{
		{Method: http.MethodGet, Path: "grants", Do: listGrants},
		{Method: http.MethodGet, Path: "grants/{id}", Do: showGrant},
		{Method: http.MethodDelete, Path: "grants/{id}", Do: endGrant},
		{Method: http.MethodDelete, Path: "sessions", Do: endSessions},
		{Method: http.MethodPost, Path: "clients/approve", Do: approveClient},
		{Method: http.MethodDelete, Path: "clients", Do: removeClient},
		{Method: http.MethodGet, Path: "paused", Do: showPause},
		{Method: http.MethodPost, Path: "pause", Do: pause},
		{Method: http.MethodPost, Path: "resume", Do: resume},
		{Method: http.MethodGet, Path: "keys", Do: listKeys},
		{Method: http.MethodPost, Path: "keys/rotate", Do: rotateKeys},
	}
}

// Error maps an error to a status of the admin endpoint. A refusal by the protocol
// is the client's mistake (400), and its description is safe to send; an unknown
// grant is 404; any other error means that the store is unavailable (503).
func Error(err error) error {
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

// listGrants lists grants by client, person and state, page by page. next of a page
// is the parameter after for the following one.
func listGrants(s Server, r *http.Request) (any, error) {
	asked, err := query(r, "client", "person", "state", "after", "limit")
	if err != nil {
		return nil, err
	}
	// Without the parameter a page has the default number of grants.
	limit := adminapi.DefaultLimit
	if text := asked.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > adminapi.MaxLimit {
			return nil, badRequest("limit %q: want a number from 1 to %d", text, adminapi.MaxLimit)
		}
	}
	// An unknown state is refused by the engine.
	filter := deviceauth.Filter{
		Client: asked.Get("client"), Person: asked.Get("person"), Standing: deviceauth.Standing(asked.Get("state")),
	}
	found, next, err := s.Engine.Grants(r.Context(), filter, asked.Get("after"), limit)
	if err != nil {
		return nil, err
	}
	// Without grants the list is empty and not null.
	page := adminapi.Grants{Grants: make([]adminapi.Grant, len(found)), Next: next}
	for i, g := range found {
		page.Grants[i] = adminapi.GrantOf(g)
	}
	return page, nil
}

// query parses the query and refuses unknown, repeated and empty parameters: with a
// misspelled filter, or one from a variable that is not set, an operator would end or list
// more than intended. Only a note, and after of the first page, may be empty.
func query(r *http.Request, known ...string) (url.Values, error) {
	asked, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("the query: %v", err)
	}
	// Parameters may be in any order.
	for name, values := range asked {
		if !slices.Contains(known, name) {
			return nil, badRequest("no parameter %q: want one of: %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, badRequest("duplicate parameter %s", name)
		}
		if values[0] == "" && name != "note" && name != "after" {
			return nil, badRequest("parameter %s is empty: leave it out, or give it a value", name)
		}
	}
	return asked, nil
}

// badRequest returns the error for a mistake of the client (400). Its text is sent to the
// client, and has only what the client sent.
func badRequest(format string, args ...any) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf(format, args...)}
}

// showGrant returns one grant. The claims of the person are personal data, and are
// included only with claims=all.
func showGrant(s Server, r *http.Request) (any, error) {
	id, err := grantID(r)
	if err != nil {
		return nil, err
	}
	asked, err := query(r, "claims")
	if err != nil {
		return nil, err
	}
	g, err := s.Engine.Grant(r.Context(), id)
	if err != nil {
		return nil, err
	}
	v := adminapi.GrantOf(g)
	// Without the parameter only claims that the gateway itself uses are included.
	switch claims := asked.Get("claims"); {
	case claims != "" && claims != "all":
		return nil, badRequest("claims %q: want all", claims)
	case claims == "all" && v.Person != nil:
		v.Person.Claims = g.Person.Claims
	}
	return v, nil
}

// endGrant ends a grant: its refresh token and access tokens are invalid from then
// on.
func endGrant(s Server, r *http.Request) (any, error) {
	id, err := grantID(r)
	if err != nil {
		return nil, err
	}
	g, err := s.Engine.End(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return adminapi.GrantOf(g), nil
}

// grantID returns the id in the path.
func grantID(r *http.Request) (deviceauth.ID, error) {
	id, err := deviceauth.ParseID(r.PathValue("id"))
	if err != nil {
		return id, badRequest("%q is no id of a grant: want 22 characters, as the list of grants has them",
			r.PathValue("id"))
	}
	return id, nil
}

// operatorName returns the name of the operator for the audit log, without control
// characters: the given one, or else what is known of the client of the admin endpoint,
// the subject of its certificate, or its address. It is empty for a Unix socket.
func operatorName(given string, r *http.Request) string {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		host = r.TLS.PeerCertificates[0].Subject.String()
	}
	return text.Plain(cmp.Or(given, host))
}

// endSessions signs a person out of the pages, in all browsers. The person is
// identified by the subject and never by the user name, which another person may have
// had before.
func endSessions(s Server, r *http.Request) (any, error) {
	// The name of the operator is a parameter, too.
	asked, err := query(r, "person", "by")
	if err != nil {
		return nil, err
	}
	by := operatorName(asked.Get("by"), r)
	v := adminapi.Sessions{Person: asked.Get("person"), Ended: time.Now().UTC()}
	if !s.Engine.IsSubject(v.Person) {
		return nil, badRequest("person %q: want a subject, such as work|1234, as grants list and the audit log have it",
			v.Person)
	}
	return v, s.Engine.EndSessions(r.Context(), v.Person, by)
}

// approveClient records that the operator vouches for a client that introduced itself.
func approveClient(s Server, r *http.Request) (any, error) {
	id, by, err := clientOf(r)
	if err != nil {
		return nil, err
	}
	return adminapi.ClientChange{ID: id, Approved: true}, s.Engine.ApproveClient(r.Context(), id, by)
}

// removeClient removes a client that introduced itself, and ends its grants. It may be one
// that may no longer introduce itself.
func removeClient(s Server, r *http.Request) (any, error) {
	id, by, err := clientOf(r)
	if err != nil {
		return nil, err
	}
	return adminapi.ClientChange{ID: id, Removed: true}, s.Engine.RemoveClient(r.Context(), id, by)
}

// clientOf returns the client of a request, and the operator's name. The client's id may be
// a URL, so it is a parameter and not part of the path.
func clientOf(r *http.Request) (id, by string, err error) {
	asked, err := query(r, "client", "by")
	if err == nil && asked.Get("client") == "" {
		err = badRequest("want the parameter client: the id of a client")
	}
	return asked.Get("client"), operatorName(asked.Get("by"), r), err
}

// listKeys lists the signing keys and their states, without their private parts.
func listKeys(s Server, _ *http.Request) (any, error) { return s.Keys.Keys(), nil }

// rotateKeys creates a new signing key ahead of schedule, and lists the keys
// afterwards. The new key signs once it has been published long enough for all
// clients to have fetched it.
func rotateKeys(s Server, r *http.Request) (any, error) {
	if err := s.Keys.Rotate(r.Context()); err != nil {
		return nil, err
	}
	return s.Keys.Keys(), nil
}
