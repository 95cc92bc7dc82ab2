package edge

import (
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
func (s *Server) verify(token string) (*deviceauth.AccessClaims, error) {
	var fault error
	raw := jwt.MapClaims{}
	parsed, err := jwt.NewParser(jwt.WithValidMethods(algorithms), jwt.WithoutClaimsValidation()).ParseWithClaims(token, raw, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		key, err := s.key(id)
		if err != nil {
			if deviceauth.Refused(err) == nil {
				fault = err
			}
			return nil, err
		}
		if key.Algorithm != "" && key.Algorithm != t.Method.Alg() {
			return nil, errBadToken
		}
		return key.Key, nil
	})
	if fault != nil {
		return nil, fault
	}
	if err != nil || parsed.Header["typ"] != deviceauth.TypeAccess || parsed.Header["crit"] != nil {
		return nil, errBadToken
	}
	claims := new(deviceauth.AccessClaims)
	if err := decode(raw, claims); err != nil || s.wrong(claims) {
		return nil, errBadToken
	}
	return claims, nil
}

// wrong reports whether something is missing that a decision rests on, or not so.
func (s *Server) wrong(c *deviceauth.AccessClaims) bool {
	return c.Issuer != s.cfg.Issuer || c.Subject == "" || c.ClientID == "" || len(c.Audience) == 0 ||
		c.Expires == 0 || over(c)
}

func over(c *deviceauth.AccessClaims) bool {
	return !time.Now().Before(time.Unix(c.Expires, 0).Add(skew))
}
