package oauthapi

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// errNoLogout refuses a request without a valid logout token of an upstream (OpenID
// Connect Back-Channel Logout 1.0 §2.8).
var errNoLogout = deviceauth.NewError("invalid_request", "logout_token is missing, or no upstream's")

// backChannelLogoutRoute returns the route that upstreams' servers call. Its path is
// below that of the code page, because it is registered there at upstreams.
func (s *vendorDialect) backChannelLogoutRoute() endpoint.Route {
	methods := map[string]endpoint.Func{http.MethodPost: s.backChannelLogout}
	return endpoint.Route{Methods: methods, CORS: endpoint.NoOrigin, Fail: s.oauthError}
}

// backChannelLogout ends the sessions that a logout token of an upstream names
// (OpenID Connect Back-Channel Logout 1.0 §2.5). The request comes from the
// upstream's server and not from a browser, so there are no cookies and no CSRF token
// to check: the token's signature is the only authentication.
func (h *Handler) backChannelLogout(r *http.Request) (*endpoint.Response, error) {
	// Only forms are accepted (§2.5).
	r.Body = http.MaxBytesReader(nil, r.Body, endpoint.MaxBody)
	if err := r.ParseForm(); err != nil {
		return nil, errNoLogout
	}
	token := r.PostFormValue("logout_token")
	if token == "" {
		return nil, errNoLogout
	}
	accepted := false
	var faults []error
	for _, u := range h.cfg.Upstreams { // several of them may be the same provider with different ids
		out, err := u.SignOut(r.Context(), token)
		if err == nil {
			accepted, err = true, h.cfg.Engine.SignOut(r.Context(), *out)
		}
		// A refusal only says that the token is not this upstream's.
		if deviceauth.AsError(err) == nil {
			faults = append(faults, err)
		}
	}
	// 503 makes the provider send it again: a sign-out must not be lost.
	switch err := errors.Join(faults...); {
	case err != nil:
		return nil, err
	case !accepted:
		return nil, errNoLogout
	}
	return endpoint.NewResponse(http.StatusOK, "", nil).Set("Cache-Control", "no-store"), nil
}
