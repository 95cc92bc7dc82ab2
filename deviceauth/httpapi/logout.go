package httpapi

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

var errNoLogout = deviceauth.Refuse("invalid_request", "logout_token is missing, or no upstream's")

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
	var faults []error
	for _, u := range h.cfg.Upstreams {
		out, err := u.Logout(r.Context(), token)
		switch {
		case err == nil:
			err = h.cfg.Engine.SignOut(r.Context(), *out)
			return newAnswer(http.StatusOK, "", nil).set("Cache-Control", "no-store"), err
		case deviceauth.Refused(err) == nil:
			faults = append(faults, err)
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return nil, errNoLogout
}
