package httpapi

import (
	"errors"
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/deviceauth/guard"
)

// introspect is RFC 7662 §2. What is not alive has no other member.
func (s *vendorDialect) introspect(r *http.Request) (*answer, error) {
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	if p.get("token") == "" {
		return nil, missing(r, "invalid_request", "token")
	}
	found, err := s.cfg.Engine.Introspect(r.Context(), deviceauth.IntrospectRequest{Client: client, Token: p.get("token")})
	if err != nil {
		return nil, err
	}
	type active struct {
		Active bool `json:"active"`
	}
	if found == nil {
		return jsonAnswer(http.StatusOK, active{}), nil
	}
	kind := "Bearer"
	if found.Refresh {
		kind = ""
	}
	return jsonAnswer(http.StatusOK, struct {
		active
		deviceauth.AccessClaims
		User   string             `json:"username,omitempty"`
		Kind   string             `json:"token_type,omitempty"`
		Person *deviceauth.Person `json:"person,omitempty"`
	}{active{true}, found.Claims, found.User, kind, found.Person}), nil
}

// userinfo is OpenID Connect Core §5.3.
func (h *Handler) userinfo(r *http.Request) (*answer, error) {
	token, given, err := h.guard.Token(r)
	switch {
	case err != nil:
		return nil, h.guard.Refuse(r, err)
	case !given:
		return nil, h.guard.Refuse(r, guard.ErrNoCredentials)
	}
	claims, err := h.cfg.Engine.Userinfo(r.Context(), token)
	if deviceauth.AsError(err) != nil {
		return nil, h.guard.Refuse(r, err)
	}
	if err != nil {
		return nil, err
	}
	return jsonAnswer(http.StatusOK, claims), nil
}

// bearerError is RFC 6750 §3: what is wrong stands in the header.
func (s *vendorDialect) bearerError(r *http.Request, err error) *answer {
	var c *guard.Challenge
	if !errors.As(err, &c) {
		return s.oauthError(r, err)
	}
	a := newAnswer(c.Status, "", nil).set("Cache-Control", "no-store")
	a.header["Www-Authenticate"] = c.Headers
	return a
}
