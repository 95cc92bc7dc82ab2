package pages

import (
	"crypto/rand"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
	"github.com/deviceauth/caddy-deviceauth/internal/text"
)

// codeView is the page where a person types the code.
type codeView struct {
	Code    string // filled in already
	Mask    string // how a code looks, for the script
	Wrong   bool   // no device waits for the code
	Problem string // key of what is wrong
	Form    string // what the form is: of this browser, and whether an address filled it in
	Typed   string // the same of one that was typed in, for when the field is emptied
}

// codePage changes nothing on the server. A code in the address, from a QR
// code, goes at once where no log and no history sees it, and is only filled
// in: what is no whole code is not even that.
func (h *Handler) codePage(r *http.Request) (*endpoint.Response, error) {
	f := h.flow(r)
	if query := r.URL.Query(); query.Has("user_code") {
		f = f.anew()
		if code := printable(query.Get("user_code")); h.cfg.Engine.Possible(code) {
			f.Code, f.Linked = code, true
		}
		cookies, err := h.sealFlowCookie(r, f)
		if err != nil {
			return nil, err
		}
		return endpoint.Redirect(h.cfg.Path).AddCookies(cookies...), nil
	}
	if err := h.cfg.Engine.Connects(r.Context()); err != nil {
		return nil, err
	}
	if !f.Linked {
		f.Code = "" // typed before, for another device
	}
	return h.showCode(r, http.StatusOK, f, "")
}

// A codeForm is sealed into the form of a code. By its browser the form is known
// for our own: no other site can make one. What an address filled in stays an
// address's, whatever becomes of it, until the field was empty.
type codeForm struct {
	Flow   string `json:"flow"`
	Filled bool   `json:"filled,omitempty"`
}

// formField is the hidden field of the form of a code.
const formField = "form"

// showCode shows the form, with the flow's code in it.
func (h *Handler) showCode(r *http.Request, status int, f flow, problem string) (*endpoint.Response, error) {
	if f.ID == "" {
		f.ID = rand.Text()
	}
	v := codeView{
		Code: f.Code, Mask: h.cfg.Engine.Mask().Example(), Wrong: status == http.StatusNotFound, Problem: problem,
	}
	if canonical, ok := deviceauth.ParseUserCode(f.Code); ok {
		v.Code = h.cfg.Engine.Mask().Format(canonical)
	}
	var err error
	if v.Form, err = h.seal.seal(formField, codeForm{Flow: f.ID, Filled: f.Linked}); err != nil {
		return nil, err
	}
	if v.Typed, err = h.seal.seal(formField, codeForm{Flow: f.ID}); err != nil {
		return nil, err
	}
	if !f.Linked {
		f.Code = "" // the form has it: no cookie need
	}
	f.Posted, f.Request = false, nil
	cookies, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	page, err := h.page(r, status, "code", newMessage("code.title"), v)
	if err != nil {
		return nil, err
	}
	return page.AddCookies(cookies...), nil
}

// printable keeps a code that could be one; the longest that people type is
// far shorter.
func printable(code string) string {
	if len(code) > 64 {
		return ""
	}
	return text.Plain(code)
}

// submitCode takes a typed code on its way: to the sign-in, or to the question.
// It looks nothing up, because the person may not have signed in yet.
func (h *Handler) submitCode(r *http.Request) (*endpoint.Response, error) {
	if err := h.readForm(r); err != nil {
		return nil, err
	}
	if err := h.cfg.Engine.Connects(r.Context()); err != nil {
		return nil, err
	}
	var form codeForm
	f := h.flow(r)
	opens := h.seal.open(formField, r.PostFormValue(formField), &form)
	if opens && form.Flow != f.ID { // it stood open for longer than its cookie lives, or two tabs began at once
		return h.showCode(r, http.StatusOK, f.anew(), "code.again")
	}
	f = flow{ID: f.ID, Led: f.Led, Code: printable(r.PostFormValue("user_code")), Linked: form.Filled || !opens}
	// What can be no code is told at the field, before a sign-in for nothing.
	switch {
	case !h.cfg.Engine.Possible(f.Code):
		return h.showCode(r, http.StatusBadRequest, f, "code.malformed")
	case !opens: // as good as a link: it is for the person to send it
		return h.showCode(r, http.StatusOK, f, "code.check")
	}
	// From now on the question may be asked: the code is from a form of this browser.
	f.Posted = true
	cookies, err := h.sealFlowCookie(r, f)
	if err != nil {
		return nil, err
	}
	s, err := h.session(r)
	if err != nil {
		return nil, err
	}
	next := "/confirm"
	if s == nil {
		next = "/sign-in"
	}
	return endpoint.Redirect(h.cfg.Path + next).AddCookies(cookies...), nil
}

// requireTyping asks for a code that no address may bring along.
func (h *Handler) requireTyping(r *http.Request) (*endpoint.Response, error) {
	return h.showCode(r, http.StatusForbidden, h.flow(r).anew(), "code.untyped")
}

// readForm reads a posted form that comes from a page of ours. Browsers that know
// no Sec-Fetch-Site send "null" as the Origin of a page with our referrer
// policy; for them the ticket in the form has to be enough.
func (h *Handler) readForm(r *http.Request) error {
	// Go's check takes an Origin of "null" for another site.
	old := r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "null"
	if err := h.cross.Check(r); err != nil && !old {
		return errForeign
	}
	// Our forms have a few hundred bytes.
	r.Body = http.MaxBytesReader(nil, r.Body, endpoint.MaxBody)
	if err := r.ParseForm(); err != nil {
		return errStale
	}
	return nil
}
