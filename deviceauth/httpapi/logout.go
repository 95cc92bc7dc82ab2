package httpapi

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

var errNoLogout = deviceauth.NewError("invalid_request", "logout_token is missing, or no upstream's")

// backChannelLogout is where an upstream says that somebody signed out (OpenID
// Connect Back-Channel Logout 1.0 §2.5). It is an upstream's server that calls,
// and no browser.
func (h *Handler) backChannelLogout(r *http.Request) (*answer, error) {
	r.Body = http.MaxBytesReader(nil, r.Body, maxBody)
	if err := r.ParseForm(); err != nil {
		return nil, errNoLogout
	}
	token := r.PostFormValue("logout_token")
	if token == "" {
		return nil, errNoLogout
	}
	heard := false
	var faults []error
	for _, u := range h.cfg.Upstreams { // several may be one provider, under several ids
		out, err := u.SignOut(r.Context(), token)
		if err == nil {
			heard, err = true, h.cfg.Engine.SignOut(r.Context(), *out)
		}
		if deviceauth.AsError(err) == nil {
			faults = append(faults, err)
		}
	}
	switch err := errors.Join(faults...); {
	case err != nil:
		return nil, err
	case !heard:
		return nil, errNoLogout
	}
	return newAnswer(http.StatusOK, "", nil).set("Cache-Control", "no-store"), nil
}
