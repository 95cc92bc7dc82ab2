package oauthapi

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// userinfo serves the userinfo endpoint (OpenID Connect Core §5.3): it returns the
// claims that the scopes of an access token permit.
func (h *Handler) userinfo(r *http.Request) (*endpoint.Response, error) {
	// Here the guard reads the header as for an API: one Authorization header, one
	// scheme.
	token, given, err := h.guard.Token(r)
	switch {
	case err != nil:
		return nil, h.guard.Refuse(r, err)
	case !given:
		return nil, h.guard.Refuse(r, guard.ErrNoCredentials)
	}
	// Any audience is accepted: the userinfo endpoint is the issuer's own resource.
	claims, err := h.cfg.Engine.Userinfo(r.Context(), token)
	if deviceauth.AsError(err) != nil {
		return nil, h.guard.Refuse(r, err)
	}
	if err != nil {
		return nil, err
	}
	return endpoint.JSON(http.StatusOK, claims), nil
}

// bearerError returns the response of RFC 6750 §3: the error is in WWW-Authenticate,
// and there is no body.
func (s *vendorDialect) bearerError(r *http.Request, err error) *endpoint.Response {
	var c *guard.Challenge
	// A fault, or a wrong method: answered as at the other endpoints.
	if !errors.As(err, &c) {
		return s.oauthError(r, err)
	}
	a := endpoint.NewResponse(c.Status, "", nil).Set("Cache-Control", "no-store")
	// Several challenges are several header fields; assigning the slice keeps their
	// order.
	a.Header["Www-Authenticate"] = c.Headers
	return a
}
