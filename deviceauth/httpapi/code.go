package httpapi

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// codeView is the page where a person types the code.
type codeView struct {
	Code    string // filled in already
	Mask    string // how a code looks, for the script
	Person  string // who is signed in
	Problem string // key of what is wrong
	Filled  string // seals the code that was filled in, where an address brought it
}

// codePage never changes anything. A code in the address, from a QR code, goes
// at once where no log and no history sees it, and is only filled in.
func (h *Handler) codePage(r *http.Request) (*answer, error) {
	if query := r.URL.Query(); query.Has("user_code") {
		code := printable(query.Get("user_code"))
		cookies, err := h.keepFlow(r, flow{Code: code, Linked: code != ""})
		if err != nil {
			return nil, err
		}
		return redirect(h.cfg.Paths.Device).cookies(cookies...), nil
	}
	if err := h.cfg.Engine.Connects(r.Context()); err != nil {
		return nil, err
	}
	f := h.flow(r)
	if !f.Linked {
		f.Code = "" // typed before, for another device
	}
	return h.showCode(r, http.StatusOK, f.Code, "")
}

// The hidden field of a code that was filled in, so that a form knows by
// itself that nobody typed it: cookies change under it when another window
// takes another code.
const filledField = "filled"

func (h *Handler) showCode(r *http.Request, status int, code, problem string) (*answer, error) {
	v := codeView{Code: code, Mask: h.cfg.Engine.Mask().Example(), Problem: problem}
	if canonical, ok := deviceauth.ParseUserCode(code); ok {
		v.Code = h.cfg.Engine.Mask().Format(canonical)
	}
	if s := h.session(r); s != nil {
		v.Person = s.Person.Name()
	}
	if v.Code != "" && problem == "" {
		var err error
		if v.Filled, err = h.seal.seal(filledField, v.Code); err != nil {
			return nil, err
		}
	}
	return h.pages.render(r, status, "code", text("code.title"), v)
}

// printable keeps a code that could be one; the longest that people type is
// far shorter.
func printable(code string) string {
	if len(code) > 64 {
		return ""
	}
	return deviceauth.Plain(code)
}

// submitCode takes a typed code on its way: to the sign-in, or to the question.
// It looks nothing up, because nobody may have signed in yet.
func (h *Handler) submitCode(r *http.Request) (*answer, error) {
	if err := h.form(r); err != nil {
		return nil, err
	}
	if err := h.cfg.Engine.Connects(r.Context()); err != nil {
		return nil, err
	}
	code := printable(r.PostFormValue("user_code"))
	canonical, ok := deviceauth.ParseUserCode(code)
	if !ok {
		return h.showCode(r, http.StatusBadRequest, code, "code.malformed")
	}
	cookies, err := h.keepFlow(r, flow{Code: code, Linked: h.linked(r, canonical)})
	if err != nil {
		return nil, err
	}
	next := "/confirm"
	if h.session(r) == nil {
		next = "/sign-in"
	}
	return redirect(h.cfg.Paths.Device + next).cookies(cookies...), nil
}

// linked reports whether an address brought the code that a form posts.
func (h *Handler) linked(r *http.Request, code deviceauth.UserCode) bool {
	var filled string
	if h.seal.open(filledField, r.PostFormValue(filledField), &filled) {
		if c, _ := deviceauth.ParseUserCode(filled); c == code {
			return true
		}
	}
	f := h.flow(r)
	c, _ := deviceauth.ParseUserCode(f.Code)
	return f.Linked && c == code
}

// typeIt asks for a code that no address may bring along.
func (h *Handler) typeIt(r *http.Request) (*answer, error) {
	a, err := h.showCode(r, http.StatusForbidden, "", "code.untyped")
	if err != nil {
		return nil, err
	}
	return a.cookies(h.drop(r, flowCookie, 0)...), nil
}

// form reads a posted form that comes from a page of ours. Browsers that know
// no Sec-Fetch-Site send "null" as the Origin of a page with our referrer
// policy; for them the ticket in the form has to be enough.
func (h *Handler) form(r *http.Request) error {
	old := r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "null"
	if err := h.cross.Check(r); err != nil && !old {
		return errForeign
	}
	r.Body = http.MaxBytesReader(nil, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return errStale
	}
	return nil
}
