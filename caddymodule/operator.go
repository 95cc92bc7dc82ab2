package caddymodule

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// The admin routes by which an operator looks in, and stops: grants, clients,
// and the pause.

// A grantView is a grant as an operator sees it: no digest, no token, and no code
// but for the last letters of one that is spent.
type grantView struct {
	ID       deviceauth.ID       `json:"id"`
	State    deviceauth.Standing `json:"state"`
	Client   string              `json:"client"`
	Person   *personView         `json:"person,omitempty"` // who said yes
	Scope    deviceauth.Scope    `json:"scope,omitempty"`
	Audience []string            `json:"audience,omitempty"`
	From     netip.Addr          `json:"from,omitzero"`   // where the device asked from
	Place    string              `json:"place,omitempty"` // the same in words
	CodeTail string              `json:"code_tail,omitempty"`
	Name     string              `json:"device_name,omitempty"`  // what its person calls it
	Label    string              `json:"device_label,omitempty"` // what it calls itself
	Created  time.Time           `json:"created"`
	Decided  time.Time           `json:"decided,omitzero"`
	Redeemed time.Time           `json:"redeemed,omitzero"`
	Used     time.Time           `json:"last_used,omitzero"`
	Expires  time.Time           `json:"expires,omitzero"` // unless it is used, where use prolongs it
	Ended    time.Time           `json:"ended,omitzero"`
	Reason   string              `json:"reason,omitempty"`
}

type personView struct {
	Subject string `json:"subject"`
	User    string `json:"user"`
	Name    string `json:"name,omitempty"`
	Email   string `json:"email,omitempty"`

	Claims deviceauth.Claims `json:"claims,omitempty"` // all that is kept, where that is asked for
}

func viewOf(g *deviceauth.Grant) grantView {
	now := time.Now()
	v := grantView{
		ID: g.ID, State: g.Standing(now), Client: g.ClientID, Scope: g.Scope, Audience: g.Audience,
		From: g.From, Place: g.Place, CodeTail: g.CodeTail(), Name: g.Name, Label: g.Label,
		Created: g.Created, Decided: g.Decided, Redeemed: g.Redeemed, Used: g.Used(), Expires: g.Until(now),
		Ended: g.Ended, Reason: g.Reason,
	}
	if p := g.Person; p != nil {
		v.Person = &personView{
			Subject: p.Subject, User: p.User, Name: p.Claims.String("name"), Email: p.Claims.String("email"),
		}
	}
	return v
}

// called is the name that a person gave the device, or else what it calls itself.
func (g grantView) called() string {
	if g.Name == "" && g.Label != "" {
		return "calls itself " + strconv.Quote(text.Plain(g.Label))
	}
	return text.Plain(g.Name)
}

// grantsView is one page. There are more grants as long as there is a next.
type grantsView struct {
	Grants []grantView `json:"grants"`
	Next   string      `json:"next,omitempty"`
}

// The bounds of a page: a thousand grants are a megabyte at most.
const (
	defaultLimit = 100
	maxLimit     = 1000
)

func listGrants(s *server, r *http.Request) (any, error) {
	asked, err := query(r, "client", "person", "state", "after", "limit")
	if err != nil {
		return nil, err
	}
	limit := defaultLimit
	if text := asked.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxLimit {
			return nil, wrong("limit %q: want a number from 1 to %d", text, maxLimit)
		}
	}
	filter := deviceauth.Filter{Client: asked.Get("client"), Person: asked.Get("person"), Standing: deviceauth.Standing(asked.Get("state"))}
	found, next, err := s.engine.Grants(r.Context(), filter, asked.Get("after"), limit)
	if err != nil {
		return nil, err
	}
	page := grantsView{Grants: make([]grantView, len(found)), Next: next}
	for i, g := range found {
		page.Grants[i] = viewOf(g)
	}
	return page, nil
}

// query reads the query, of which a misspelled parameter would ask for more
// than was meant.
func query(r *http.Request, known ...string) (url.Values, error) {
	asked, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, wrong("the query: %v", err)
	}
	for name, values := range asked {
		if !slices.Contains(known, name) {
			return nil, wrong("no parameter %q: want one of: %s", name, strings.Join(known, ", "))
		}
		if len(values) > 1 {
			return nil, wrong("duplicate parameter %s", name)
		}
	}
	return asked, nil
}

// wrong is a mistake of whoever asked.
func wrong(format string, args ...any) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf(format, args...)}
}

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
	v := viewOf(g)
	switch claims := asked.Get("claims"); {
	case claims != "" && claims != "all":
		return nil, wrong("claims %q: want all", claims)
	case claims == "all" && v.Person != nil:
		v.Person.Claims = g.Person.Claims
	}
	return v, nil
}

func endGrant(s *server, r *http.Request) (any, error) {
	id, err := grantID(r)
	if err != nil {
		return nil, err
	}
	g, err := s.engine.End(r.Context(), id)
	if err != nil {
		return nil, err
	}
	return viewOf(g), nil
}

func grantID(r *http.Request) (deviceauth.ID, error) {
	id, err := deviceauth.ParseID(r.PathValue("id"))
	if err != nil {
		return id, wrong("%q is no id of a grant: want 22 characters, as the list of grants has them", r.PathValue("id"))
	}
	return id, nil
}

// A sessionsView says whose sessions at the pages have ended.
type sessionsView struct {
	Person string    `json:"person"` // a subject
	Ended  time.Time `json:"ended"`  // those that were begun by then
}

// endSessions signs a person out of the pages, in every browser. Nobody is
// signed out by a user: several people may have had it.
func endSessions(s *server, r *http.Request) (any, error) {
	asked, err := query(r, "person", "by")
	if err != nil {
		return nil, err
	}
	by := text.Plain(cmp.Or(asked.Get("by"), caller(r)))
	v := sessionsView{asked.Get("person"), time.Now().UTC()}
	if !s.engine.IsSubject(v.Person) {
		return nil, wrong("person %q: want a subject, such as work|1234, as grants list and the audit log have it", v.Person)
	}
	return v, s.engine.EndSessions(r.Context(), v.Person, by)
}

// A clientView is a client as it is configured, without its secret.
type clientView struct {
	Client
	Public bool `json:"public"`
}

func (a *Admin) listClients(*server, *http.Request) (any, error) {
	list := make([]clientView, len(a.app.Clients))
	for i, c := range a.app.Clients {
		public := c.Secret == nil
		c.Secret, c.Name = nil, cmp.Or(c.Name, c.ID)
		list[i] = clientView{c, public}
	}
	return list, nil
}

// A pauseView says whether connecting devices is paused.
type pauseView struct {
	Paused bool `json:"paused"`
	deviceauth.Pause
}

func showPause(s *server, r *http.Request) (any, error) {
	p, err := s.engine.Paused(r.Context())
	return pauseView{p.On(), p}, err
}

// pauseRequest is the body of a pause; the query may say the same.
type pauseRequest struct {
	Note string `json:"note"`
	By   string `json:"by"`
}

const maxPauseRequest = 4 << 10 // a note is a sentence or two

// saidOfPause reads what the operator says, in the query or a body.
func saidOfPause(r *http.Request) (said pauseRequest, err error) {
	asked, err := query(r, "note", "by")
	if err != nil {
		return said, err
	}
	said = pauseRequest{asked.Get("note"), asked.Get("by")}
	body := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxPauseRequest))
	body.DisallowUnknownFields()
	if err := body.Decode(&said); err != nil && !errors.Is(err, io.EOF) {
		return said, wrong(`want nothing, or a JSON object such as {"note":"why","by":"who"}: %v`, err)
	}
	if len(said.Note)+len(said.By) > maxPauseRequest {
		return said, wrong("the note is too long: want at most %d bytes", maxPauseRequest)
	}
	return pauseRequest{text.Plain(said.Note), text.Plain(cmp.Or(said.By, caller(r)))}, nil
}

func pause(s *server, r *http.Request) (any, error) {
	said, err := saidOfPause(r)
	if err != nil {
		return nil, err
	}
	p, err := s.engine.Pause(r.Context(), said.By, said.Note)
	if err == nil {
		caddy.Log().Named("device_login").Warn("connecting devices is paused", zap.String("by", p.By), zap.String("note", p.Note))
	}
	return pauseView{p.On(), p}, err
}

// caller is who asks, as far as the admin endpoint knows.
func caller(r *http.Request) string {
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		return r.TLS.PeerCertificates[0].Subject.String()
	}
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return host // none of a unix socket
}

func resume(s *server, r *http.Request) (any, error) {
	said, err := saidOfPause(r)
	if err != nil {
		return nil, err
	}
	if err = s.engine.Resume(r.Context(), said.By); err == nil {
		caddy.Log().Named("device_login").Info("devices can be connected", zap.String("by", said.By))
	}
	return pauseView{}, err
}
