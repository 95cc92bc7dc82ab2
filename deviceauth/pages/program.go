package pages

import (
	"crypto/rand"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"time"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// programView is the question about a program in this browser: who requests access,
// to what, and where the response goes.
type programView struct {
	deviceView
	Target        target
	Warned        bool // the response may leave this computer, and the network policy is not off
	Person, Email string
	Ticket        string
}

// A target is where the response goes, in a form that people can check.
type target struct {
	Kind string // here: a port of this computer; site: a web application; app: the app that opens the scheme
	Name string // the host, or the scheme
}

// The kinds of targets.
const (
	targetHere = "here"
	targetSite = "site"
	targetApp  = "app"
)

// targetOf returns the target of a redirect URI.
func targetOf(redirectURI string) target {
	u, err := url.Parse(redirectURI)
	switch {
	case err != nil: // it was checked when the client was configured
		return target{Kind: targetSite, Name: redirectURI}
	// With the port, which distinguishes programs of one computer.
	case deviceauth.IsLoopbackRedirect(redirectURI):
		return target{Kind: targetHere, Name: u.Host}
	case u.Scheme == "https":
		return target{Kind: targetSite, Name: u.Host}
	}
	return target{Kind: targetApp, Name: u.Scheme + ":"}
}

// programQuestion shows the question about a program in this browser. The person is
// always asked, even if they approved the program before: a page that continues by
// itself would issue codes without a person (RFC 8252 §8.6).
func (h *Handler) programQuestion(r *http.Request, s *deviceauth.Session, f flow) (*endpoint.Response, error) {
	g, err := h.cfg.Engine.InspectCode(r.Context(), deviceauth.InspectCodeRequest{
		Person: s.Person, Request: *f.Request, From: h.cfg.ClientIP(r),
	})
	// Because of prompt=login, or a client with sign_in fresh.
	if hasCode(err, "not_fresh") {
		return h.freshSignIn(r, f, h.device(g).Name)
	}
	if err != nil {
		return nil, err
	}
	v := programView{
		deviceView: h.device(g), Target: targetOf(g.Redirect),
		Person: s.Person.Name(), Email: s.Person.Claims.String("email"),
	}
	// A loopback address is on this computer; any other may be on another one.
	v.Warned = v.Target.Kind != targetHere && h.cfg.Engine.Network(g.ClientID) != deviceauth.NetworkOff
	if v.Ticket, err = h.sealFormToken(formToken{Session: s.ID, Request: f.Request}); err != nil {
		return nil, err
	}
	return h.page(r, http.StatusOK, "program", newMessage("confirm.title", v.Name), v)
}

// answerProgram records the answer to the question of [Handler.programQuestion].
func (h *Handler) answerProgram(
	r *http.Request, s *deviceauth.Session, t formToken, allow bool,
) (*endpoint.Response, error) {
	code, g, err := h.cfg.Engine.AnswerCode(r.Context(), deviceauth.AnswerCodeRequest{
		InspectCodeRequest: deviceauth.InspectCodeRequest{
			Person: s.Person, Request: *t.Request, From: h.cfg.ClientIP(r),
		},
		Allow: allow,
	})
	if hasCode(err, "not_fresh") {
		cookies, err := h.sealFlowCookie(r, h.flowOf(r, t))
		if err != nil {
			return nil, err
		}
		return endpoint.Redirect(h.cfg.Path + "/confirm").AddCookies(cookies...), nil
	}
	if err != nil {
		return nil, err
	}
	// A denial is sent, too, so that the program does not wait for a response.
	answer := url.Values{"error": {"access_denied"}, "error_description": {"the person said no"}}
	if allow {
		answer = url.Values{"code": {code.Reveal()}}
	}
	return h.returnToProgram(r, outcome{
		Device: h.device(g).Name, Session: s.ID, Expires: time.Now().Add(returnLife),
		ID: rand.Text(), Client: t.Request.ClientID, Redirect: t.Request.RedirectURI, Back: h.back(*t.Request, answer),
	})
}

// returnLife is how long the page that redirects to a program is valid: as long as
// its code.
const returnLife = time.Minute

// returnToProgram redirects to the page that leads to the program, and removes the
// request from the flow. The page is needed because form-action forbids that a
// submitted form redirects to another site.
func (h *Handler) returnToProgram(r *http.Request, o outcome) (*endpoint.Response, error) {
	sealed, err := h.seal.seal(outcomeField, o)
	if err != nil {
		return nil, err
	}
	cookies, err := h.sealFlowCookie(r, h.flow(r).anew())
	if err != nil {
		return nil, err
	}
	return endpoint.Redirect(h.cfg.Path + "/return?" + outcomeField + "=" + sealed).AddCookies(cookies...), nil
}

// returnView is the page that leads to a program.
type returnView struct {
	Name      string
	Address   template.URL // a redirect URI that the client has registered, with any scheme
	Automatic bool         // it redirects without a click
	Refused   string       // the site or scheme of an unchecked client whose request was refused
}

// returnPage leads the browser to a program, automatically only once: a second use of
// the code would end the grant, and browsers may reopen pages. Only the session that
// decided can use it.
func (h *Handler) returnPage(r *http.Request) (*endpoint.Response, error) {
	var o outcome
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	// The URL alone is not enough: it takes the session that decided, within the
	// minute.
	opens := h.seal.open(outcomeField, r.URL.Query().Get(outcomeField), &o)
	if !opens || o.Back == "" || time.Now().After(o.Expires) || s == nil || s.ID != o.Session {
		return endpoint.Redirect(h.cfg.Path + "/connections"), nil
	}
	// The client may have been changed since the answer. A metadata document that cannot
	// be fetched now was available a minute ago.
	err = h.cfg.Engine.CheckRedirect(r.Context(), o.Client, o.Redirect)
	if err != nil && !errors.As(err, new(*deviceauth.DocumentFault)) {
		return nil, err
	}
	f := h.flow(r)
	v := returnView{Name: o.Device, Address: template.URL(o.Back), Automatic: !f.recordRedirect(o.ID)}
	// Recorded in the browser and not on the server, because it is about what this
	// browser shows.
	cookies, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	page, err := h.page(r, http.StatusOK, "return", newMessage("return.title", o.Device), v)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(cookies...), nil
}
