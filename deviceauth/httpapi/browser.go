package httpapi

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// What a browser keeps, sealed. There is no table of sessions on any server,
// so any gateway can go on with what another began.
const (
	sessionCookie = "device_session" // who is signed in
	flowCookie    = "device_flow"    // where on the way they are
	signInCookie  = "device_signin_" // begins the name of each sign-in that was begun
	ticketField   = "ticket"         // what a form is for, in a hidden field
)

const (
	flowLife    = 30 * time.Minute
	attemptLife = 10 * time.Minute
)

// A session is a person who is signed in. Its id binds forms to it.
type session struct {
	ID      string             `json:"id"`
	Person  *deviceauth.Person `json:"person"`
	Expires time.Time          `json:"expires"`
}

func (h *Handler) session(r *http.Request) *session {
	var s session
	if !h.kept(r, sessionCookie, &s) || s.Person == nil || time.Now().After(s.Expires) {
		return nil
	}
	return &s
}

func (h *Handler) begin(r *http.Request, p *deviceauth.Person) ([]*http.Cookie, error) {
	length := h.cfg.Engine.Session()
	return h.keep(r, sessionCookie, session{rand.Text(), p, time.Now().Add(length)}, length)
}

// A flow carries the code across the sign-in, without it standing in an
// address, a log or a history.
type flow struct {
	Code    string    `json:"code,omitempty"`   // as it was typed
	Linked  bool      `json:"linked,omitempty"` // it was not: an address brought it
	Next    string    `json:"next,omitempty"`   // after the sign-in, where no code waits
	Expires time.Time `json:"expires"`
}

func (h *Handler) flow(r *http.Request) flow {
	var f flow
	if !h.kept(r, flowCookie, &f) || time.Now().After(f.Expires) {
		return flow{}
	}
	return f
}

func (h *Handler) keepFlow(r *http.Request, f flow) ([]*http.Cookie, error) {
	f.Expires = time.Now().Add(flowLife)
	return h.keep(r, flowCookie, f, flowLife)
}

// An outcome is what the last page says. It stands sealed in that page's
// address, and in no cookie, so that two tabs do not tell each other's.
type outcome struct {
	Said    string    `json:"said"` // allowed, denied or reported
	Device  string    `json:"device"`
	Session string    `json:"session"` // whose page it is: it must not congratulate anybody else
	Expires time.Time `json:"expires"`
}

const outcomeField = "of"

// A ticket is the hidden field of a form: which session may post it, and what
// the page showed. Another tab can change cookies, but not this page's ticket.
type ticket struct {
	Session string        `json:"session"`
	Grant   deviceauth.ID `json:"grant,omitzero"`
	Code    string        `json:"code,omitempty"`
}

func (h *Handler) ticket(t ticket) (string, error) { return h.seal.seal(ticketField, t) }

// presented returns the session and the ticket of a form that belongs to it.
func (h *Handler) presented(r *http.Request) (*session, ticket, error) {
	var t ticket
	s := h.session(r)
	if s == nil || !h.seal.open(ticketField, r.PostFormValue(ticketField), &t) || t.Session != s.ID {
		return nil, t, errStale
	}
	return s, t, nil
}
