package remote

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// skew is the tolerated difference between the clocks of server and guard.
const skew = time.Minute

// algorithms are the signature algorithms of the server. All are asymmetric, so none
// uses a published key as a secret (RFC 8725 §3.1).
var algorithms = []string{"ES256", "EdDSA", "RS256"}

// verify returns the claims of a valid access token of the server (RFC 9068 §4).
// Everything but the signature is checked first: only a token that may be valid
// can cause a fetch of the keys.
func (s *Server) verify(ctx context.Context, token string) (*deviceauth.AccessClaims, error) {
	// The parser wraps an error of the key function, so a fault is kept apart from a
	// refusal.
	var fault error
	var reason string
	raw, claims := jwt.MapClaims{}, new(deviceauth.AccessClaims)
	parser := jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(token, raw, func(t *jwt.Token) (any, error) {
		switch {
		case !plausible(t.Header):
			return nil, deviceauth.ErrBadToken
		case decode(raw, claims) != nil:
			reason = deviceauth.TokenMalformed
			return nil, deviceauth.ErrBadToken
		}
		// The claims come from a token that is not verified yet; they are used only
		// to refuse it early.
		if reason = s.refusalReason(claims); reason != "" {
			return nil, deviceauth.ErrBadToken
		}
		key, err := s.key(ctx, t.Header["kid"].(string))
		switch {
		case err != nil && deviceauth.AsError(err) == nil:
			fault = err
			return nil, err
		case err != nil:
			return nil, err
		case key.Algorithm != "" && key.Algorithm != t.Method.Alg():
			return nil, deviceauth.ErrBadToken
		}
		return key.Key, nil
	})
	// A fault says nothing about the token: the device keeps the token and tries
	// again.
	if fault != nil {
		return nil, fault
	}
	if err != nil {
		if errors.Is(err, jwt.ErrTokenMalformed) {
			reason = deviceauth.TokenMalformed
		}
		return nil, deviceauth.BadToken(cmp.Or(reason, deviceauth.TokenSignature), nil)
	}
	return claims, nil
}

// plausible reports whether a header is that of an access token (RFC 9068 §2.1).
// The parser has checked the algorithm by then.
func plausible(header map[string]any) bool {
	id, _ := header["kid"].(string)
	return id != "" && header["typ"] == deviceauth.TypeAccess && header["crit"] == nil
}

// refusalReason returns the reason for a [deviceauth.TokenError] if a claim that the
// guard depends on is missing or wrong, or "".
func (s *Server) refusalReason(c *deviceauth.AccessClaims) (reason string) {
	switch {
	case c.Subject == "" || c.ClientID == "" || len(c.Audience) == 0 || c.Expires == 0:
		return deviceauth.TokenMalformed
	case c.Issuer != s.cfg.Issuer:
		return deviceauth.TokenIssuer
	case hasExpired(c):
		return deviceauth.TokenExpired
	}
	return ""
}

// hasExpired reports whether a token has expired, allowing for skew.
func hasExpired(c *deviceauth.AccessClaims) bool {
	return !time.Now().Before(time.Unix(c.Expires, 0).Add(skew))
}
