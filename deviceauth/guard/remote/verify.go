package remote

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/deviceauth/caddy-deviceauth/deviceauth"
)

// skew is forgiven where the clock of another is concerned.
const skew = time.Minute

// algorithms are those that a server signs with. None of them takes a key that
// is published for a secret (RFC 8725 §3.1).
var algorithms = []string{"ES256", "EdDSA", "RS256"}

// verify returns the claims of an access token of the server's that is in time.
// Everything that can be wrong with it but its signature is looked at first:
// only a token that may well be good makes us look for a key.
func (s *Server) verify(ctx context.Context, token string) (*deviceauth.AccessClaims, error) {
	var fault error
	var reason string
	raw, claims := jwt.MapClaims{}, new(deviceauth.AccessClaims)
	_, err := jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithoutClaimsValidation()).ParseWithClaims(token, raw, func(t *jwt.Token) (any, error) {
		switch {
		case !plausible(t.Header):
			return nil, deviceauth.ErrBadToken
		case decode(raw, claims) != nil:
			reason = deviceauth.TokenMalformed
			return nil, deviceauth.ErrBadToken
		}
		if reason = s.wrong(claims); reason != "" {
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

// plausible reports whether a header is an access token's (RFC 9068 §2.1); that
// its algorithm is one of ours is known by then.
func plausible(header map[string]any) bool {
	id, _ := header["kid"].(string)
	return id != "" && header["typ"] == deviceauth.TypeAccess && header["crit"] == nil
}

// wrong returns which claim that a decision rests on is missing or not so, as the
// reason of a [deviceauth.TokenError], or "".
func (s *Server) wrong(c *deviceauth.AccessClaims) (reason string) {
	switch {
	case c.Subject == "" || c.ClientID == "" || len(c.Audience) == 0 || c.Expires == 0:
		return deviceauth.TokenMalformed
	case c.Issuer != s.cfg.Issuer:
		return deviceauth.TokenIssuer
	case over(c):
		return deviceauth.TokenExpired
	}
	return ""
}

func over(c *deviceauth.AccessClaims) bool {
	return !time.Now().Before(time.Unix(c.Expires, 0).Add(skew))
}
