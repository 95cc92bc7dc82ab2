package httpapi

import (
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// confirmView is the question: who asks, for what, from where.
type confirmView struct {
	Device, Maker, Logo string
	Code                string
	Scopes              []string
	Asked               string // "2 minutes ago"
	From                string // the device's address
	Here                string // the browser's, where it is another network's
	Refused             bool   // another network, and the policy is to require the same
	Unconfirmed         bool   // the warning was not confirmed
	Person, Email       string
	Ticket              string
}

// confirmPage looks the code up, for a person who is signed in.
func (h *Handler) confirmPage(r *http.Request) (*answer, error) {
	s, f := h.session(r), h.flow(r)
	if f.Code == "" {
		return redirect(h.cfg.Paths.Device), nil
	}
	if s == nil {
		return redirect(h.cfg.Paths.Device + "/sign-in"), nil
	}
	return h.ask(r, s, f.Code, false)
}

func (h *Handler) ask(r *http.Request, s *session, code string, unconfirmed bool) (*answer, error) {
	g, err := h.cfg.Engine.Inspect(r.Context(), deviceauth.InspectRequest{Person: s.Person, From: h.cfg.ClientIP(r), Code: code})
	if err != nil {
		return nil, err
	}
	v, err := h.question(r, s, g)
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	if v.Unconfirmed = unconfirmed; unconfirmed {
		status = http.StatusBadRequest
	}
	return h.pages.render(status, "confirm", "Connect "+v.Device+"?", v)
}

func (h *Handler) question(r *http.Request, s *session, g *deviceauth.Grant) (confirmView, error) {
	e, here := h.cfg.Engine, h.cfg.ClientIP(r)
	v := confirmView{
		Device: g.ClientID, Code: e.Mask().Format(g.UserCode), Scopes: e.Texts(g.Scope), Asked: ago(time.Since(g.Created)),
		From: address(g.From), Person: s.Person.Name(), Email: s.Person.Claims.String("email"),
	}
	if c, ok := e.Client(g.ClientID); ok {
		v.Device, v.Maker, v.Logo = c.Name, c.Maker, c.Logo
	}
	if e.Network() != deviceauth.NetworkOff && g.Elsewhere(here) {
		v.Here, v.Refused = address(here), e.Network() == deviceauth.NetworkRequire
	}
	var err error
	v.Ticket, err = h.ticket(ticket{Session: s.ID, Grant: g.ID, Code: string(g.UserCode)})
	return v, err
}

// address spells an address, or says that there is none to spell.
func address(a netip.Addr) string {
	if !a.IsValid() {
		return "an unknown address"
	}
	return a.Unmap().String()
}

// ago says a time as people do.
func ago(d time.Duration) string {
	minutes := int(d.Minutes())
	switch {
	case d < time.Minute:
		return "just now"
	case minutes == 1:
		return "a minute ago"
	case minutes < 60:
		return fmt.Sprintf("%d minutes ago", minutes)
	case minutes < 2*60:
		return "an hour ago"
	case minutes < 24*60:
		return fmt.Sprintf("%d hours ago", minutes/60)
	case minutes < 2*24*60:
		return "a day ago"
	}
	return fmt.Sprintf("%d days ago", minutes/60/24)
}

// decide takes the answer: to the request that the page showed, whatever other
// tabs have done to the cookies since.
func (h *Handler) decide(r *http.Request) (*answer, error) {
	if err := h.form(r); err != nil {
		return nil, err
	}
	s, t, err := h.presented(r)
	if err != nil {
		return nil, err
	}
	said := r.PostFormValue("answer")
	if said != "allow" && said != "deny" {
		return nil, errStale
	}
	g, err := h.cfg.Engine.Answer(r.Context(), deviceauth.AnswerRequest{
		Grant: t.Grant, Allow: said == "allow", Person: s.Person, From: h.cfg.ClientIP(r), Confirmed: r.PostFormValue("confirmed") == "yes",
	})
	if refusal := deviceauth.Refused(err); refusal != nil && refusal.Code == "unconfirmed" {
		return h.ask(r, s, t.Code, true)
	}
	if err != nil {
		return nil, err
	}
	return h.done(r, g)
}

// done sends the browser to a page that can be reloaded.
func (h *Handler) done(r *http.Request, g *deviceauth.Grant) (*answer, error) {
	f := flow{Outcome: "denied", Device: g.ClientID}
	if g.State == deviceauth.Approved {
		f.Outcome = "allowed"
	}
	if c, ok := h.cfg.Engine.Client(g.ClientID); ok {
		f.Device = c.Name
	}
	cookies, err := h.keepFlow(r, f)
	if err != nil {
		return nil, err
	}
	return redirect(h.cfg.Paths.Device + "/done").cookies(cookies...), nil
}

func (h *Handler) donePage(r *http.Request) (*answer, error) {
	f := h.flow(r)
	if f.Outcome == "" {
		return redirect(h.cfg.Paths.Device), nil
	}
	title := f.Device + " is connected"
	if f.Outcome == "denied" {
		title = f.Device + " was refused"
	}
	return h.pages.render(http.StatusOK, "done", title, f)
}
