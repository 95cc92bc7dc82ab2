package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/adminapi"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// The routes of the admin endpoint with which an operator inspects and ends grants
// and sessions, manages clients, and pauses the device login.

// listGrants lists grants by client, person and state, page by page. next of a page
// is the parameter after for the following one.
func listGrants(s *server, r *http.Request) (any, error) {
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
	filter := deviceauth.Filter{
		Client: asked.Get("client"), Person: asked.Get("person"), Standing: deviceauth.Standing(asked.Get("state")),
	}
	found, next, err := s.engine.Grants(r.Context(), filter, asked.Get("after"), limit)
	if err != nil {
		return nil, err
	}
	page := adminapi.Grants{Grants: make([]adminapi.Grant, len(found)), Next: next}
	for i, g := range found {
		page.Grants[i] = adminapi.GrantOf(g)
	}
	return page, nil
}

// query parses the query and refuses unknown and repeated parameters: with a
// misspelled filter an operator would end or list more than intended.
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
	}
	return asked, nil
}

// badRequest returns the error for a mistake of the client (400).
func badRequest(format string, args ...any) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf(format, args...)}
}

// showGrant returns one grant. The claims of the person are personal data, and are
// included only with claims=all.
func showGrant(s *server, r *http.Request) (any, error) {
	id, err := grantID(r)
	if err != nil {
		return nil, err
	}
	asked, err := query(r, "claims")
	if err != nil {
		return nil, err
	}
	g, err := s.engine.Grant(r.Context(), id)
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
func endGrant(s *server, r *http.Request) (any, error) {
	id, err := grantID(r)
	if err != nil {
		return nil, err
	}
	g, err := s.engine.End(r.Context(), id)
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

// endSessions signs a person out of the pages, in all browsers. The person is
// identified by the subject and never by the user name, which another person may have
// had before.
func endSessions(s *server, r *http.Request) (any, error) {
	asked, err := query(r, "person", "by")
	if err != nil {
		return nil, err
	}
	// Control characters are removed from the name, which is written to the audit
	// log.
	by := text.Plain(cmp.Or(asked.Get("by"), caller(r)))
	v := adminapi.Sessions{Person: asked.Get("person"), Ended: time.Now().UTC()}
	if !s.engine.IsSubject(v.Person) {
		return nil, badRequest("person %q: want a subject, such as work|1234, as grants list and the audit log have it",
			v.Person)
	}
	return v, s.engine.EndSessions(r.Context(), v.Person, by)
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

// approveClient records that the operator vouches for a client that introduced
// itself. Its id may be a URL, so it is a parameter and not part of the path.
func approveClient(s *server, r *http.Request) (any, error) {
	asked, err := query(r, "client", "by")
	if err != nil {
		return nil, err
	}
	id, by := asked.Get("client"), text.Plain(cmp.Or(asked.Get("by"), caller(r)))
	return adminapi.ClientChange{ID: id, Approved: true}, s.engine.ApproveClient(r.Context(), id, by)
}

// removeClient removes a client that introduced itself, and ends its grants.
func removeClient(s *server, r *http.Request) (any, error) {
	asked, err := query(r, "client", "by")
	if err != nil {
		return nil, err
	}
	id, by := asked.Get("client"), text.Plain(cmp.Or(asked.Get("by"), caller(r)))
	return adminapi.ClientChange{ID: id, Removed: true}, s.engine.RemoveClient(r.Context(), id, by)
}

// showPause returns whether the device login is paused, since when, by whom and why.
func showPause(s *server, r *http.Request) (any, error) {
	p, err := s.engine.Paused(r.Context())
	return adminapi.Pause{Paused: p.On(), Pause: p}, err
}

// pauseRequest is the body of a request to pause or resume. Query parameters are an
// alternative.
type pauseRequest struct {
	Note string `json:"note"`
	By   string `json:"by"`
}

// maxPauseRequest is the maximum length of a pause request in bytes.
const maxPauseRequest = 4 << 10 // a note is a sentence or two

// readPauseRequest reads the note and the operator's name from the query or the body.
// The body may be empty; its members take precedence.
func readPauseRequest(r *http.Request) (req pauseRequest, err error) {
	asked, err := query(r, "note", "by")
	if err != nil {
		return req, err
	}
	req = pauseRequest{Note: asked.Get("note"), By: asked.Get("by")}
	// The admin endpoint has no limit for bodies.
	body := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxPauseRequest))
	body.DisallowUnknownFields()
	if err := body.Decode(&req); err != nil && !errors.Is(err, io.EOF) {
		return req, badRequest(`want nothing, or a JSON object such as {"note":"why","by":"who"}: %v`, err)
	}
	if len(req.Note)+len(req.By) > maxPauseRequest {
		return req, badRequest("the note is too long: want at most %d bytes", maxPauseRequest)
	}
	return pauseRequest{Note: text.Plain(req.Note), By: text.Plain(cmp.Or(req.By, caller(r)))}, nil
}

// pause stops connecting new devices; connected devices are not affected. The pause
// is stored: other gateways with the same store follow within seconds.
func pause(s *server, r *http.Request) (any, error) {
	req, err := readPauseRequest(r)
	if err != nil {
		return nil, err
	}
	p, err := s.engine.Pause(r.Context(), req.By, req.Note)
	if err == nil {
		caddy.Log().Named("device_login").Warn("connecting devices is paused",
			zap.String("by", p.By), zap.String("note", p.Note))
	}
	return adminapi.Pause{Paused: p.On(), Pause: p}, err
}

// caller returns the name of the client of the admin endpoint, as far as known: the
// subject of its certificate, or its address. It is empty for a Unix socket.
func caller(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return r.TLS.PeerCertificates[0].Subject.String()
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host
}

// resume ends a pause.
func resume(s *server, r *http.Request) (any, error) {
	req, err := readPauseRequest(r)
	if err != nil {
		return nil, err
	}
	if err = s.engine.Resume(r.Context(), req.By); err == nil {
		caddy.Log().Named("device_login").Info("devices can be connected", zap.String("by", req.By))
	}
	return adminapi.Pause{}, err
}
