package oauthapi

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// revoke serves the revocation endpoint (RFC 7009 §2). Both an access token and a
// refresh token end their whole grant. token_type_hint is not needed, since our
// tokens show their kind.
func (s *vendorDialect) revoke(r *http.Request) (*endpoint.Response, error) {
	// A public client proves nothing here: possession of a token is enough to revoke
	// it, which RFC 7009 §5 considers harmless.
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
	// An unknown token gets the same response (RFC 7009 §2.2): the client wanted it
	// to be invalid, and it is.
	return endpoint.NewResponse(http.StatusOK, "", nil).Set("Cache-Control", "no-store"), nil
}
