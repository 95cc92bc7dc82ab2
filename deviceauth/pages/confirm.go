package pages

import (
	"cmp"
	"net/http"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// confirmView is the question: who asks, for what, from where.
type confirmView struct {
	deviceView
	Code  string
	Asked time.Time
	askedFrom
	Elsewhere     bool   // the browser is in another network
	Here          string // the browser's address
	Refused       bool   // another network, and the policy is to require the same
	Person, Email string
	Ticket        string
}

// askedFrom is where a device asked from.
type askedFrom struct {
	From  string // its address; empty: unknown
	Place string // the same in words; empty: unknown
}

// askedFromOf is what the grant keeps of where its device asked from.
func askedFromOf(g *deviceauth.Grant) askedFrom {
	return askedFrom{From: addressText(g.From), Place: g.Place}
}

// Where is the address, with the place beside it. unknown is the word for no address.
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

// confirmPage looks the code up, for a person who is signed in.
func (h *Handler) confirmPage(r *http.Request) (*endpoint.Response, error) {
	f := h.flowShown(r)
	s, err := h.session(r)
	switch {
	case err != nil:
		return nil, err
	// Without a code of our own form there is nothing to ask about; an address that somebody
	// sent is only filled in, on the page for codes.
	case !f.hasQuestion():
		return endpoint.Redirect(h.cfg.Path), nil
	case s == nil && f.Request != nil && f.Request.Prompts(promptLogin):
		return h.freshSignIn(r, f, h.clientName(f.Request.ClientID))
	case s == nil:
		return h.goOn("/sign-in", f)
	// Merely to look at a question from another network tells the operator: see DecisionRefused.
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
	case hasCode(err, "unknown_code"): // the same for wrong, expired and used codes: it tells a guesser nothing
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

// question looks up what a code asks for, and prepares the page that shows it. The grant
// is returned beside an error too, where there is one: some refusals name its device.
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
	// The warning stands on the question itself; what it costs to go on is decided when the
	// answer comes.
	if v.Elsewhere = e.Elsewhere(g, here); v.Elsewhere {
		v.Refused = e.Network(g.ClientID) == deviceauth.NetworkRequire
	}
	// The form is about this grant, whatever code another tab brings meanwhile.
	v.Ticket, err = h.sealFormToken(formToken{Session: s.ID, Grant: g.ID, Code: string(g.UserCode)})
	return g, v, err
}

// The fields of the two questions.
const (
	fieldAnswer  = "answer"  // allow or deny
	fieldStarted = "started" // by whom: me or other; with another network
	fieldChecked = "checked" // the second question was shown
)

// decide takes the answer: to the request that the page showed, whatever other
// tabs have done to the cookies since.
func (h *Handler) decide(r *http.Request) (*endpoint.Response, error) {
	if err := h.readForm(r); err != nil {
		return nil, err
	}
	s, t, err := h.openFormToken(r)
	if err != nil {
		return nil, err
	}
	decision, started := r.PostFormValue(fieldAnswer), r.PostFormValue(fieldStarted)
	// Anything else than one of the two buttons is no answer; nothing is guessed.
	if decision != "allow" && decision != "deny" || t.Grant == (deviceauth.ID{}) && t.Request == nil {
		return nil, errStale
	}
	// "Someone sent me the code" is a denial, whichever button was pressed with it.
	allow, reported := decision == "allow", started == "other"
	// A no is taken from anywhere: it can only take access away.
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

// flowOf is the flow of the request that a page showed. Another tab may have
// brought another code since.
func (h *Handler) flowOf(r *http.Request, t formToken) flow {
	f := h.flow(r).anew()
	f.Code, f.Posted, f.Request = t.Code, t.Request == nil, t.Request
	return f
}

// check asks a second time, who started it: a person who was talked into typing a
// code has the chance to say so.
func (h *Handler) check(r *http.Request, s *deviceauth.Session, t formToken) (*endpoint.Response, error) {
	g, v, err := h.question(r, s, flow{Code: t.Code})
	if err == nil && g.ID != t.Grant {
		err = errStale // the code has gone to another device since
	}
	if err != nil {
		return nil, err
	}
	// The page comes back with a hint where it was posted without an answer.
	asked := r.PostFormValue(fieldChecked) != ""
	status := http.StatusOK
	if asked {
		status = http.StatusBadRequest
	}
	return h.page(r, status, "check", newMessage("check.title"), checkView{confirmView: v, Problem: asked})
}

// done sends the browser to a page that can be reloaded, and forgets the code
// unless another tab has brought another one since.
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
	// In the address and not in a cookie: a reload shows it again, and another tab shows its own.
	sealed, err := h.seal.seal(outcomeField, o)
	if err != nil {
		return nil, err
	}
	a := endpoint.Redirect(h.cfg.Path + "/done?" + outcomeField + "=" + sealed)
	f := h.flow(r)
	// A code that another tab has brought since stays.
	if code, _ := deviceauth.ParseUserCode(f.Code); code == g.UserCode {
		cookies, err := h.sealFlowCookie(r, f.anew())
		if err != nil {
			return nil, err
		}
		a.AddCookies(cookies...)
	}
	return a, nil
}

// donePage says what became of the request. Only the session that decided sees it, and
// only for [flowLife].
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
