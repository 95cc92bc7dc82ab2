package deviceauth

import "time"

// Token types of a JWS header.
const (
	TypeAccess = "at+jwt" // RFC 9068 §2.1
	TypeID     = "JWT"
)

// A Signer makes and reads JSON Web Tokens. Package keyring has one.
type Signer interface {
	// Sign returns the compact form of a token with the type in its header.
	// The key it signs with is good at least until then.
	Sign(typ string, claims any) (string, error)
	// SignID is Sign for an ID token, with a key for an algorithm, as a client
	// wants it; empty: the one that Sign takes.
	SignID(algorithm string, claims any) (string, error)
	// Verify decodes the claims of a token of ours: signature, algorithm,
	// type and critical headers are checked, the claims are not.
	Verify(typ, token string, claims any) error
}

// AccessClaims are the claims of an access token (RFC 9068 §2.2). sid is the
// grant's id: the guard asks whether that still lives.
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

// seconds is the NumericDate of RFC 7519 §2.
func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
