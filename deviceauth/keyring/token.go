package keyring

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// payload makes golang-jwt encode and decode claims of other types: package
// deviceauth checks their values, so the library's own checks must find nothing.
type payload struct {
	jwt.MapClaims // empty: only its methods are needed
	value         any
}

func (p payload) MarshalJSON() ([]byte, error)     { return json.Marshal(p.value) }
func (p *payload) UnmarshalJSON(text []byte) error { return json.Unmarshal(text, p.value) }

// Sign implements [deviceauth.Signer]. typ is the media type in the header, such as
// at+jwt (RFC 9068 §2.1). It uses the key that signs now.
func (k *Keyring) Sign(typ string, claims any) (string, error) {
	return k.current.Load().signing(time.Now()).sign(typ, claims)
}

// sign returns a JWS in compact serialization (RFC 7515 §7.1). With kid a verifier
// selects one of the published keys (RFC 7515 §4.1.4).
func (k *key) sign(typ string, claims any) (string, error) {
	token := jwt.NewWithClaims(k.method, payload{value: claims})
	token.Header["typ"] = typ
	token.Header["kid"] = k.id
	signed, err := token.SignedString(k.private)
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return signed, nil
}

// errHeader is the error for any invalid header. It is always the same, so that it
// reveals nothing about the keys.
var errHeader = errors.New("not a token of ours")

// Verify implements [deviceauth.Signer]. It selects the key only by kid: jku, x5u and
// jwk in a header are controlled by the attacker (RFC 8725 §3.10), and so is alg,
// which must be that of the key (§3.1).
func (k *Keyring) Verify(typ, token string, claims any) error {
	ring := k.current.Load()
	parser := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	_, err := parser.ParseWithClaims(token, &payload{value: claims}, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		key, known := ring.known[kid]
		if _, critical := t.Header["crit"]; critical || !known || t.Method.Alg() != key.method.Alg() ||
			!sameType(t.Header["typ"], typ) {
			return nil, errHeader
		}
		return key.private.Public(), nil
	})
	return err
}

// sameType compares media types as required by RFC 7515 §4.1.9: without regard to
// case, and with an optional prefix "application/".
func sameType(header any, want string) bool {
	typ, _ := header.(string)
	typ = strings.TrimPrefix(strings.ToLower(typ), "application/")
	return typ == strings.ToLower(want)
}
