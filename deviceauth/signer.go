package deviceauth

import "time"

// Token types of a JWS header.
const (
	TypeAccess = "at+jwt" // RFC 9068 §2.1
	TypeID     = "JWT"
)

// A Signer signs and verifies JSON Web Tokens. Package keyring implements it.
type Signer interface {
	// Sign returns the compact serialization of a token with the type in its header.
	// The signing key stays published until the token has expired.
	Sign(typ string, claims any) (string, error)
	// SignID is like Sign, for an ID token and with a key for an algorithm that a
	// client requires; empty: with the key that Sign uses.
	SignID(algorithm string, claims any) (string, error)
	// Verify decodes the claims of a token of ours. It checks signature, algorithm,
	// type and critical headers, but not the claims.
	Verify(typ, token string, claims any) error
}

// AccessClaims are the claims of an access token (RFC 9068 §2.2). sid is the id of
// the grant, by which a guard checks whether the grant is active.
type AccessClaims struct {
	Issuer   string   `json:"iss"`
	Audience audience `json:"aud"`
	Subject  string   `json:"sub"`
	ClientID string   `json:"client_id"`
	Scope    Scope    `json:"scope,omitempty"`
	IssuedAt int64    `json:"iat"`
	Expires  int64    `json:"exp"`
	JWTID    string   `json:"jti"`
	Grant    ID       `json:"sid"`
	AuthTime int64    `json:"auth_time,omitempty"`
}

// seconds returns a time as a NumericDate (RFC 7519 §2).
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
