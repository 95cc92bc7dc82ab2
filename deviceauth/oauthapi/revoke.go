package oauthapi

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// revoke is RFC 7009 §2.
func (s *vendorDialect) revoke(r *http.Request) (*endpoint.Response, error) {
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	if p.get("token") == "" {
		return nil, missing(r, "invalid_request", "token")
	}
	asked := deviceauth.RevokeRequest{Client: client, Token: p.get("token")}
	if err := s.cfg.Engine.Revoke(r.Context(), asked); err != nil {
		return nil, err
	}
	return endpoint.NewResponse(http.StatusOK, "", nil).Set("Cache-Control", "no-store"), nil
}
