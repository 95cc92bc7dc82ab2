package pages

import (
	"crypto/rand"
	"net/http"
	"slices"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/response"
)

// The state in the browser, encrypted: the id of its session, and its flow. Any
// gateway can continue what another one started.
const (
	sessionCookie  = response.SessionCookie
	flowCookie     = response.FlowCookie
	signInCookie   = response.SignInCookie
	formTokenField = "ticket" // hidden field with the purpose of a form
)

const (
	flowLife   = 30 * time.Minute
	signInLife = 10 * time.Minute
)

// session returns the session of the request's browser, or nil if there is none. The
// browser has only its id; the person is in the store.
func (h *Handler) session(r *http.Request) (*deviceauth.Session, error) {
	var id string
	if !h.openCookie(r, sessionCookie, &id) {
		return nil, nil
	}
	return h.cfg.Engine.FindSession(r.Context(), id)
}

// beginSession starts a session for a person, and ends another person's session in
// this browser.
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

// A flow keeps the code during a sign-in, so that it is in no URL, log or history.
type flow struct {
	ID         string   `json:"id"`               // of this browser, to which the form of the code is bound
	Code       string   `json:"code,omitempty"`   // typed by a person, or from a link
	Linked     bool     `json:"linked,omitempty"` // from a link
	Posted     bool     `json:"posted,omitempty"` // submitted with our own form; no other code is looked up
	Next       string   `json:"next,omitempty"`   // the page after the sign-in, if not the question
	Redirected []string `json:"led,omitempty"`    // ids of the last [outcome]s that redirected to a program

	// The authorization request of a program in this browser (RFC 6749 §4.1.1),
	// instead of a code.
	Request *deviceauth.CodeRequest `json:"request,omitempty"`

	Expires time.Time `json:"expires"`
}

// anew returns an empty flow of the same browser.
func (f flow) anew() flow { return flow{ID: f.ID, Redirected: f.Redirected} }

// maxRedirected is how many outcomes a flow records; each is valid for a minute.
const maxRedirected = 5

// recordRedirect records that the browser is redirected to a program because of an
// outcome, and reports whether it has been before.
func (f *flow) recordRedirect(id string) (again bool) {
	if slices.Contains(f.Redirected, id) {
		return true
	}
	f.Redirected = append(f.Redirected[max(0, len(f.Redirected)+1-maxRedirected):], id)
	return false
}

// hasQuestion reports whether there is a question for the person.
func (f flow) hasQuestion() bool { return f.Posted || f.Request != nil }

// signInCode returns the code that marks a sign-in as one for the question, see
// [deviceauth.Person.Fresh].
func (f flow) signInCode() deviceauth.UserCode {
	if f.Request != nil {
		return f.Request.SignInCode()
	}
	code, _ := deviceauth.ParseUserCode(f.Code)
	return code
}

// flow returns the flow of the request's browser, or the zero flow.
func (h *Handler) flow(r *http.Request) flow {
	var f flow
	if !h.openCookie(r, flowCookie, &f) || time.Now().After(f.Expires) {
		return flow{}
	}
	return f
}

// sealFlowCookie returns the cookie with a flow, which expires after [flowLife].
func (h *Handler) sealFlowCookie(r *http.Request, f flow) ([]*http.Cookie, error) {
	if f.ID == "" {
		f.ID = rand.Text()
	}
	f.Expires = time.Now().Add(flowLife)
	return h.sealCookie(r, flowCookie, f, flowLife)
}

// flowField is the query parameter with the flow of a sign-in page.
const flowField = "flow"

// sealFlow encrypts the flow of a page with sign-in links, for their URLs: another
// tab may change the cookie before the person follows one. It returns "" if the
// browser has no flow.
func (h *Handler) sealFlow(f flow) (string, error) {
	if f.ID == "" {
		return "", nil
	}
	f.Expires = time.Now().Add(flowLife)
	return h.seal.seal(flowField, f)
}

// flowShown returns the flow in the URL of a sign-in. A flow of another browser is
// ignored.
func (h *Handler) flowShown(r *http.Request) flow {
	var shown flow
	current := h.flow(r)
	opens := h.seal.open(flowField, r.URL.Query().Get(flowField), &shown)
	if !opens || shown.ID == "" || shown.ID != current.ID || time.Now().After(shown.Expires) {
		return current
	}
	return shown
}

// An outcome is what the last page shows. It is encrypted in that page's URL, and in
// no cookie, so that each tab shows its own.
type outcome struct {
	Said    string    `json:"said"` // allowed, denied or reported; operators' templates use it
	Device  string    `json:"device"`
	Session string    `json:"session"` // to which the page belongs: no other person may see it
	ID      string    `json:"id,omitempty"`
	Expires time.Time `json:"expires"`

	Client   string `json:"client,omitempty"` // a program, with its redirect URI
	Redirect string `json:"redirect,omitempty"`
	Back     string `json:"back,omitempty"` // the redirect URI with the response
}

// outcomeField is the query parameter of the last page.
const outcomeField = "of"

// A formToken is the hidden field of a form: the session that may submit it, and what
// the page showed. Another tab can change cookies, but not this token.
type formToken struct {
	Session string        `json:"session"`
	Grant   deviceauth.ID `json:"grant,omitzero"`
	Code    string        `json:"code,omitempty"`

	Request *deviceauth.CodeRequest `json:"request,omitempty"` // see [flow.Request]
}

// sealFormToken returns the hidden field of a form, which proves that a submitted
// form is from a page of this session (CSRF).
func (h *Handler) sealFormToken(t formToken) (string, error) { return h.seal.seal(formTokenField, t) }

// openFormToken returns the session and the token of a submitted form.
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
