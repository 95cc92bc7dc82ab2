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
	Code    string // prefilled
	Mask    string // format of a code, for the script
	Wrong   bool   // no pending grant has this code
	Problem string // key of the error text
	Form    string // sealed codeForm
	Typed   string // the same for a typed code, which the script uses once the field has been emptied
}

// codePage shows the form. It changes nothing on the server. A code in the URL, from
// a QR code, is moved to a cookie immediately, so that it is in no log and no
// history, and is only prefilled. Text that cannot be a code is ignored.
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
		f.Code = "" // typed earlier, for another device
	}
	return h.showCode(r, http.StatusOK, f, "")
}

// A codeForm is the encrypted hidden field of a code's form. Its flow id proves that
// the form is ours: no other site can create one. A code from a link counts as one
// from a link even if the person edits it, until the field has been empty.
type codeForm struct {
	Flow   string `json:"flow"`
	Filled bool   `json:"filled,omitempty"`
}

// formField is the name of that hidden field.
const formField = "form"

// showCode shows the form, with the flow's code.
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
		f.Code = "" // the form has it, so the cookie need not
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

// printable returns a code without control characters, or "" if it is far longer than
// any code.
func printable(code string) string {
	if len(code) > 64 {
		return ""
	}
	return text.Plain(code)
}

// submitCode handles a typed code, and redirects to the sign-in or to the question.
// It does not look the code up, because the person may not have signed in yet.
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
	if opens && form.Flow != f.ID { // the form is older than the cookie, or two tabs were opened simultaneously
		return h.showCode(r, http.StatusOK, f.anew(), "code.again")
	}
	f = f.anew()
	f.Code, f.Linked = printable(r.PostFormValue("user_code")), form.Filled || !opens
	// Text that cannot be a code is reported at the field, so that no one signs in in
	// vain.
	switch {
	case !h.cfg.Engine.Possible(f.Code):
		return h.showCode(r, http.StatusBadRequest, f, "code.malformed")
	case !opens: // counts as a link: the person must submit it
		return h.showCode(r, http.StatusOK, f, "code.check")
	}
	// From now on the question may be shown: the code is from a form of this browser.
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

// requireTyping shows the form for a code that must be typed.
func (h *Handler) requireTyping(r *http.Request) (*endpoint.Response, error) {
	return h.showCode(r, http.StatusForbidden, h.flow(r).anew(), "code.untyped")
}

// readForm parses a form, which must be from one of our pages. Browsers without
// Sec-Fetch-Site send the Origin "null" because of our referrer policy; for them the
// form's token must suffice.
func (h *Handler) readForm(r *http.Request) error {
	// Go's check treats the Origin "null" as another site.
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
