package pages

import (
	"cmp"
	"net/http"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// confirmView is the question about a device: who requests access, to what, and from
// where.
type confirmView struct {
	deviceView
	Code  string
	Asked time.Time
	askedFrom
	Elsewhere     bool   // the browser is in another network
	Here          string // the browser's address
	Refused       bool   // because of another network, with the policy require
	Person, Email string
	Ticket        string
}

// askedFrom is the address of a device.
type askedFrom struct {
	From  string // its address; empty: unknown
	Place string // its location in words; empty: unknown
}

// askedFromOf returns the address and location of a grant's device.
func askedFromOf(g *deviceauth.Grant) askedFrom {
	return askedFrom{From: addressText(g.From), Place: g.Place}
}

// Where returns the address with the location. unknown is the text for an unknown
// address.
func (a askedFrom) Where(unknown string) string {
	where := cmp.Or(a.From, unknown)
	if a.Place != "" {
		where += " (" + a.Place + ")"
	}
	return where
}

// checkView is the second question, for a device in another network.
type checkView struct {
	confirmView
	Problem bool // it was not answered
}

// confirmPage shows the question about a code, to a person who is signed in.
func (h *Handler) confirmPage(r *http.Request) (*endpoint.Response, error) {
	f := h.flowShown(r)
	s, err := h.session(r)
	switch {
	case err != nil:
		return nil, err
	// Without a code from our own form there is no question; a code from a link is
	// only prefilled on the code page.
	case !f.hasQuestion():
		return endpoint.Redirect(h.cfg.Path), nil
	case s == nil && f.Request != nil && f.Request.WantsSignIn(nil, time.Now()):
		return h.freshSignIn(r, f, h.clientName(f.Request.ClientID))
	case s == nil:
		return h.redirectWithFlow("/sign-in", f)
	// Checked before the question, too; the refusal emits an event, see
	// DecisionRefused.
	case h.cfg.Engine.CheckNetwork(s, h.cfg.ClientIP(r)) != nil:
		return h.movedSignIn(r, s, f)
	case f.Request != nil:
		return h.programQuestion(r, s, f)
	}
	g, v, err := h.question(r, s, f)
	switch {
	case hasCode(err, "untyped"):
		return h.requireTyping(r)
	case hasCode(err, "not_fresh"):
		return h.freshSignIn(r, f, h.device(g).Name)
	case hasCode(err, "unknown_code"): // the same for wrong, expired and used codes, to tell a guesser nothing
		return h.showCode(r, http.StatusNotFound, f, "unknown_code.text")
	case hasCode(err, "impossible_code"):
		return h.showCode(r, http.StatusBadRequest, f, "code.malformed")
	case err != nil:
		return nil, err
	}
	return h.page(r, http.StatusOK, "confirm", newMessage("confirm.title", v.Name), v)
}

// hasCode reports whether an error is a refusal with this code.
func hasCode(err error, code string) bool {
	refusal := deviceauth.AsError(err)
	return refusal != nil && refusal.Code == code
}

// question looks a code up, and returns the view of its question. Some errors come
// with the grant, for the name of the device.
func (h *Handler) question(r *http.Request, s *deviceauth.Session, f flow) (*deviceauth.Grant, confirmView, error) {
	e, here := h.cfg.Engine, h.cfg.ClientIP(r)
	g, err := e.Inspect(r.Context(), deviceauth.InspectRequest{
		Person: s.Person, From: here, Browser: s.ID, Code: f.Code, Linked: f.Linked,
	})
	if err != nil {
		return g, confirmView{}, err
	}
	v := confirmView{
		deviceView: h.device(g), Code: e.Mask().Format(g.UserCode), Asked: g.Created, askedFrom: askedFromOf(g),
		Here: addressText(here), Person: s.Person.Name(), Email: s.Person.Claims.String("email"),
	}
	// The question has the warning; the policy is applied to the answer.
	if v.Elsewhere = e.Elsewhere(g, here); v.Elsewhere {
		v.Refused = e.Network(g.ClientID) == deviceauth.NetworkRequire
	}
	// The form is for this grant, even if another tab changes the code.
	v.Ticket, err = h.sealFormToken(formToken{Session: s.ID, Grant: g.ID, Code: string(g.UserCode)})
	return g, v, err
}

// Fields of the two questions.
const (
	fieldAnswer  = "answer"  // allow or deny
	fieldStarted = "started" // who started it: me or other; only with another network
	fieldChecked = "checked" // the second question was shown
)

// decide records the answer to the request that the page showed, even if other tabs
// have changed the cookies since.
func (h *Handler) decide(r *http.Request) (*endpoint.Response, error) {
	if err := h.readForm(r); err != nil {
		return nil, err
	}
	s, t, err := h.openFormToken(r)
	if err != nil {
		return nil, err
	}
	decision, started := r.PostFormValue(fieldAnswer), r.PostFormValue(fieldStarted)
	// Any other value than that of the two buttons is invalid.
	if decision != "allow" && decision != "deny" || t.Grant == (deviceauth.ID{}) && t.Request == nil {
		return nil, errStale
	}
	// "Someone sent me the code" is a denial, with either button.
	allow, reported := decision == "allow", started == "other"
	// A denial is accepted from any network, because it gives no access.
	if allow && !reported && h.cfg.Engine.CheckNetwork(s, h.cfg.ClientIP(r)) != nil {
		return h.movedSignIn(r, s, h.flowOf(r, t))
	}
	if t.Request != nil {
		return h.answerProgram(r, s, t, allow)
	}
	g, err := h.cfg.Engine.Answer(r.Context(), deviceauth.AnswerRequest{
		Grant: t.Grant, Allow: allow && !reported, Person: s.Person, From: h.cfg.ClientIP(r),
		Confirmed: started == "me", Reported: reported,
	})
	switch {
	case hasCode(err, "unconfirmed"):
		return h.check(r, s, t)
	case hasCode(err, "not_fresh"):
		cookies, err := h.sealFlowCookie(r, h.flowOf(r, t))
		if err != nil {
			return nil, err
		}
		return endpoint.Redirect(h.cfg.Path + "/confirm").AddCookies(cookies...), nil
	case err != nil:
		return nil, err
	}
	return h.done(r, s, g)
}

// flowOf returns the flow of the request that a page showed. Another tab may have
// changed the cookie since.
func (h *Handler) flowOf(r *http.Request, t formToken) flow {
	f := h.flow(r).anew()
	f.Code, f.Posted, f.Request = t.Code, t.Request == nil, t.Request
	return f
}

// check shows the second question, who started it, so that a person who was tricked
// into entering a code can report it.
func (h *Handler) check(r *http.Request, s *deviceauth.Session, t formToken) (*endpoint.Response, error) {
	g, v, err := h.question(r, s, flow{Code: t.Code})
	if err == nil && g.ID != t.Grant {
		err = errStale // another device has the code now
	}
	if err != nil {
		return nil, err
	}
	// If it was submitted without an answer the page is shown again with a hint.
	asked := r.PostFormValue(fieldChecked) != ""
	status := http.StatusOK
	if asked {
		status = http.StatusBadRequest
	}
	return h.page(r, status, "check", newMessage("check.title"), checkView{confirmView: v, Problem: asked})
}

// done redirects to a page that can be reloaded, and removes the code from the flow
// unless another tab has changed it since.
func (h *Handler) done(r *http.Request, s *deviceauth.Session, g *deviceauth.Grant) (*endpoint.Response, error) {
	o := outcome{
		Said: "denied", Device: h.device(g).Name, Session: s.ID, Expires: time.Now().Add(flowLife),
	}
	switch {
	case g.State == deviceauth.Approved:
		o.Said = "allowed"
	case g.Reason == deviceauth.ReasonReported:
		o.Said = "reported"
	}
	// In the URL and not in a cookie: a reload shows it again, and another tab shows
	// its own.
	sealed, err := h.seal.seal(outcomeField, o)
	if err != nil {
		return nil, err
	}
	a := endpoint.Redirect(h.cfg.Path + "/done?" + outcomeField + "=" + sealed)
	f := h.flow(r)
	// A code that another tab has set since is kept.
	if code, _ := deviceauth.ParseUserCode(f.Code); code == g.UserCode {
		cookies, err := h.sealFlowCookie(r, f.anew())
		if err != nil {
			return nil, err
		}
		a.AddCookies(cookies...)
	}
	return a, nil
}

// donePage shows the result of the decision. Only the session that decided can see
// it, and only for [flowLife].
func (h *Handler) donePage(r *http.Request) (*endpoint.Response, error) {
	var o outcome
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	opens := h.seal.open(outcomeField, r.URL.Query().Get(outcomeField), &o)
	if !opens || time.Now().After(o.Expires) || s == nil || s.ID != o.Session {
		return endpoint.Redirect(h.cfg.Path), nil
	}
	title := newMessage("done.denied_title", o.Device)
	if o.Said == "allowed" {
		title = newMessage("done.allowed_title", o.Device)
	}
	return h.page(r, http.StatusOK, "done", title, o)
}
