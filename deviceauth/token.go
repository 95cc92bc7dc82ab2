package deviceauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// The prefixes tell the kinds apart, for people who read a configuration
// and for scanners that look for leaked credentials.
const (
	deviceCodePrefix        = "dc_"
	authorizationCodePrefix = "ac_"
	refreshTokenPrefix      = "rt_"
)

// A split token names its grant and proves to belong to it: the id finds the
// record by its primary key, the secret is compared with a stored digest.
type splitToken struct {
	id     ID
	secret [32]byte
}

func newSplitToken(id ID) splitToken {
	t := splitToken{id: id}
	rand.Read(t.secret[:])
	return t
}

func (t splitToken) digest() Digest { return digest(t.secret[:]) }

func (t splitToken) bytes() []byte { return append(t.id[:], t.secret[:]...) }

// deviceCode spells the token as an RFC 8628 device_code.
func (t splitToken) deviceCode() Secret {
	return Secret(deviceCodePrefix + base64.RawURLEncoding.EncodeToString(t.bytes()))
}

// authorizationCode spells the token as a code of RFC 6749 §4.1.2.
func (t splitToken) authorizationCode() Secret {
	return Secret(authorizationCodePrefix + base64.RawURLEncoding.EncodeToString(t.bytes()))
}

func parseDeviceCode(code string) (t splitToken, ok bool) {
	return parseSplitToken(code, deviceCodePrefix)
}

func parseAuthorizationCode(code string) (t splitToken, ok bool) {
	return parseSplitToken(code, authorizationCodePrefix)
}

func parseSplitToken(code, prefix string) (t splitToken, ok bool) {
	text, ok := strings.CutPrefix(code, prefix)
	var raw [len(t.id) + len(t.secret)]byte
	if !ok || decodeInto(raw[:], []byte(text)) != nil {
		return t, false
	}
	copy(t.id[:], raw[:])
	copy(t.secret[:], raw[len(t.id):])
	return t, true
}

// refreshKey makes refresh tokens. A token carries a tag under this key, so
// that one we never issued is known without a look at any grant: the id is no
// secret, and guessing at it must not end a grant as a replay would.
type refreshKey [32]byte

// refreshKey returns the key of refresh tokens as it is now.
func (e *Engine) refreshKey() refreshKey { return e.cfg.RefreshKey() }

const tagSize = 16

func (k refreshKey) derive(purpose string, t splitToken) []byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte(purpose))
	mac.Write(t.bytes())
	return mac.Sum(nil)
}

// successor is the token that follows t. It is derived, not drawn, so that a
// client whose answer was lost can be given the same one again although only
// its digest was kept (RFC 9700 §4.14.2 asks for rotation, not for this mercy).
func (k refreshKey) successor(t splitToken) splitToken {
	next := splitToken{id: t.id}
	copy(next.secret[:], k.derive("successor", t))
	return next
}

func (k refreshKey) refreshToken(t splitToken) Secret {
	raw := append(t.bytes(), k.derive("tag", t)[:tagSize]...)
	return Secret(refreshTokenPrefix + base64.RawURLEncoding.EncodeToString(raw))
}

func (k refreshKey) parse(token string) (t splitToken, ok bool) {
	text, ok := strings.CutPrefix(token, refreshTokenPrefix)
	var raw [len(t.id) + len(t.secret) + tagSize]byte
	if !ok || decodeInto(raw[:], []byte(text)) != nil {
		return t, false
	}
	copy(t.id[:], raw[:])
	copy(t.secret[:], raw[len(t.id):])
	tag := raw[len(raw)-tagSize:]
	return t, hmac.Equal(tag, k.derive("tag", t)[:tagSize])
}
