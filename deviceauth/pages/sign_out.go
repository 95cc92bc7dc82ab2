package pages

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// signOut ends the session. A person who wants to use another account is redirected
// to the sign-in.
func (h *Handler) signOut(r *http.Request) (*endpoint.Response, error) {
	if err := h.readForm(r); err != nil {
		return nil, err
	}
	var id string
	var t formToken
	// The store is not read for the session: signing out must work while it is
	// unavailable.
	opens := h.openCookie(r, sessionCookie, &id) && h.seal.open(formTokenField, r.PostFormValue(formTokenField), &t)
	if !opens || t.Session != id {
		return nil, errStale
	}
	gone := h.dropCookie(r, sessionCookie, 0)
	if err := h.cfg.Engine.EndSession(r.Context(), id); err != nil {
		// The browser's cookies are deleted in any case: the next person at this
		// browser may be another one.
		r = r.Clone(r.Context())
		r.Header.Del("Cookie")
		return h.ErrorPage(r, err).AddCookies(gone...), nil
	}
	// To use another account, a person signs out and is asked for it by the upstream.
	if r.PostFormValue("then") != "switch" {
		return endpoint.Redirect(h.cfg.Path + "/signed-out").AddCookies(gone...), nil
	}
	if t.Code != "" || t.Request != nil { // of the question that the page showed
		cookies, err := h.sealFlowCookie(r, h.flowOf(r, t))
		if err != nil {
			return nil, err
		}
		gone = append(gone, cookies...)
	}
	return endpoint.Redirect(h.cfg.Path + "/sign-in?switch=1").AddCookies(gone...), nil
}

// signedOutPage shows that the person is signed out.
func (h *Handler) signedOutPage(r *http.Request) (*endpoint.Response, error) {
	return h.problem(r, "left")
}
