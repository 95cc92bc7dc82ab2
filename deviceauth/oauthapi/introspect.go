package oauthapi

import (
	"net/http"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
	"github.com/deviceauth/caddy-deviceauth/internal/endpoint"
)

// introspect serves the introspection endpoint (RFC 7662 §2) for resource servers and
// for guards in other Caddys. The engine requires a confidential client (RFC 7662
// §2.1). The response for a token that is not active has no member but active.
func (s *vendorDialect) introspect(r *http.Request) (*endpoint.Response, error) {
	p, client, err := s.request(r)
	if err != nil {
		return nil, err
	}
	// RFC 7662 §2.1 requires the token. token_type_hint is not needed, since our
	// tokens show their kind.
	if p.get("token") == "" {
		return nil, missing(r, "invalid_request", "token")
	}
	asked := deviceauth.IntrospectRequest{Client: client, Token: p.get("token")}
	found, err := s.cfg.Engine.Introspect(r.Context(), asked)
	if err != nil {
		return nil, err
	}
	// The response is the same for every token that is not active: RFC 7662 §2.2 says
	// that the server should not disclose the reason.
	type active struct {
		Active bool `json:"active"`
	}
	if found == nil {
		return endpoint.JSON(http.StatusOK, active{}), nil
	}
	// token_type says how an access token is used (RFC 6749 §7.1); it does not apply
	// to a refresh token.
	kind := "Bearer"
	if found.Refresh {
		kind = ""
	}
	return endpoint.JSON(http.StatusOK, struct {
		active
		deviceauth.AccessClaims
		User string `json:"username,omitempty"`
		Kind string `json:"token_type,omitempty"`
		// Only guards in other Caddys receive the person, for the identity headers.
		Person *deviceauth.Person `json:"person,omitempty"`
	}{
		active: active{Active: true}, AccessClaims: found.Claims, User: found.User, Kind: kind, Person: found.Person,
	}), nil
}
