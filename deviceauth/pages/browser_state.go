package pages

import (
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// What a browser keeps, sealed: the id of its session, and how far it has come.
// Any gateway can go on with what another began.
const (
	sessionCookie  = response.SessionCookie
	flowCookie     = response.FlowCookie
	signInCookie   = response.SignInCookie
	formTokenField = "ticket" // what a form is for, in a hidden field
)

const (
	flowLife   = 30 * time.Minute
	signInLife = 10 * time.Minute
)

// session returns the session of the request's browser, or nil where nobody is
// signed in. The browser keeps its id; who it is stands in the store.
func (h *Handler) session(r *http.Request) (*deviceauth.Session, error) {
	var id string
	if !h.openCookie(r, sessionCookie, &id) {
		return nil, nil
	}
	return h.cfg.Engine.FindSession(r.Context(), id)
}

// beginSession signs a person in; a session of another person in this browser ends.
func (h *Handler) beginSession(r *http.Request, p *deviceauth.Person) ([]*http.Cookie, error) {
	before, err := h.session(r)
	if err != nil {
		return nil, err
	}
	s, err := h.cfg.Engine.BeginSession(r.Context(), p, h.cfg.ClientIP(r), before)
	if err != nil {
		return nil, err
	}
	return h.sealCookie(r, sessionCookie, s.ID, time.Until(s.Expires))
}

// A flow carries the code across the sign-in, without it standing in an
// address, a log or a history.
type flow struct {
	ID     string   `json:"id"`               // of this browser: the form of the code is bound to it
	Code   string   `json:"code,omitempty"`   // as it was typed, or an address brought it
	Linked bool     `json:"linked,omitempty"` // an address brought it
	Posted bool     `json:"posted,omitempty"` // from our own form: no other code is looked up
	Next   string   `json:"next,omitempty"`   // after the sign-in, before the code that waits
	Led    []string `json:"led,omitempty"`    // the last [outcome]s with which it was sent back to a program

	// The authorization request of a program in this browser (RFC 6749 §4.1.1), in the place of a code.
	Request *deviceauth.CodeRequest `json:"request,omitempty"`

	Expires time.Time `json:"expires"`
}

// anew is a new beginning in the same browser.
func (f flow) anew() flow { return flow{ID: f.ID, Led: f.Led} }

// maxLed is how many outcomes a browser keeps in mind; each counts for a minute.
const maxLed = 5

// lead keeps in mind that the browser was led back with an outcome, and reports whether it
// was before.
func (f *flow) lead(id string) (again bool) {
	if slices.Contains(f.Led, id) {
		return true
	}
	f.Led = append(f.Led[max(0, len(f.Led)+1-maxLed):], id)
	return false
}

// hasQuestion reports whether there is a question to answer.
func (f flow) hasQuestion() bool { return f.Posted || f.Request != nil }

// signInCode is what a new sign-in for the question is marked with.
func (f flow) signInCode() deviceauth.UserCode {
	if f.Request != nil {
		return f.Request.SignInCode()
	}
	code, _ := deviceauth.ParseUserCode(f.Code)
	return code
}

// flow is how far the request's browser has come; the zero flow is a new beginning.
func (h *Handler) flow(r *http.Request) flow {
	var f flow
	if !h.openCookie(r, flowCookie, &f) || time.Now().After(f.Expires) {
		return flow{}
	}
	return f
}

// sealFlowCookie has the browser keep a flow for [flowLife] from now.
func (h *Handler) sealFlowCookie(r *http.Request, f flow) ([]*http.Cookie, error) {
	if f.ID == "" {
		f.ID = rand.Text()
	}
	f.Expires = time.Now().Add(flowLife)
	return h.sealCookie(r, flowCookie, f, flowLife)
}

// flowField is the parameter of a sign-in's address that says what its page was about.
const flowField = "flow"

// sealFlow is what a page of sign-ins was about, for their addresses: another tab
// may change the cookie before one of them is chosen. It is empty where the browser
// has no flow.
func (h *Handler) sealFlow(f flow) (string, error) {
	if f.ID == "" {
		return "", nil
	}
	f.Expires = time.Now().Add(flowLife)
	return h.seal.seal(flowField, f)
}

// flowShown is the flow that the page of a sign-in's address was about. One of
// another browser is not accepted in this one.
func (h *Handler) flowShown(r *http.Request) flow {
	var shown flow
	current := h.flow(r)
	opens := h.seal.open(flowField, r.URL.Query().Get(flowField), &shown)
	if !opens || shown.ID == "" || shown.ID != current.ID || time.Now().After(shown.Expires) {
		return current
	}
	return shown
}

// An outcome is what the last page says. It stands sealed in that page's
// address, and in no cookie, so that two tabs do not tell each other's.
type outcome struct {
	Said    string    `json:"said"` // allowed, denied or reported; templates of operators name it
	Device  string    `json:"device"`
	Session string    `json:"session"` // whose page it is: it must not be shown to another person
	ID      string    `json:"id,omitempty"`
	Back    string    `json:"back,omitempty"` // the address that leads back to a program, with its answer
	Expires time.Time `json:"expires"`
}

// outcomeField is the parameter of the last page's address.
const outcomeField = "of"

// A formToken is the hidden field of a form: which session may post it, and what
// the page showed. Another tab can change cookies, but not this page's ticket.
type formToken struct {
	Session string        `json:"session"`
	Grant   deviceauth.ID `json:"grant,omitzero"`
	Code    string        `json:"code,omitempty"`

	Request *deviceauth.CodeRequest `json:"request,omitempty"` // see [flow.Request]
}

// sealFormToken makes the hidden field of a form, by which a post is known for one of
// this session's own page (CSRF).
func (h *Handler) sealFormToken(t formToken) (string, error) { return h.seal.seal(formTokenField, t) }

// openFormToken returns the session and the token of a form that belongs to it.
func (h *Handler) openFormToken(r *http.Request) (*deviceauth.Session, formToken, error) {
	var t formToken
	s, err := h.session(r)
	if err != nil {
		return nil, t, err
	}
	if s == nil || !h.seal.open(formTokenField, r.PostFormValue(formTokenField), &t) || t.Session != s.ID {
		return nil, t, errStale
	}
	return s, t, nil
}
