package oauthapi

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// revoke is RFC 7009 §2. An access token and a refresh token both end their whole grant, and
// each tells its kind, so token_type_hint is not needed.
func (s *vendorDialect) revoke(r *http.Request) (*endpoint.Response, error) {
	// A public client proves nothing here: possession of the token is enough to end it, and
	// RFC 7009 §5 sees no harm in that.
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
	// An unknown token is answered in the same way (RFC 7009 §2.2): the client wanted it to be
	// worth nothing, and so it is.
	return endpoint.NewResponse(http.StatusOK, "", nil).Set("Cache-Control", "no-store"), nil
}
