package deviceauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// The prefixes distinguish the kinds of tokens for people who read a configuration,
// and for scanners that look for leaked credentials.
const (
	deviceCodePrefix        = "dc_"
	authorizationCodePrefix = "ac_"
	refreshTokenPrefix      = "rt_"
)

// A splitToken consists of the id of its grant, which is the primary key of the
// record, and a secret, which is compared with a stored digest.
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

// deviceCode returns the token as a device_code (RFC 8628 §3.2).
func (t splitToken) deviceCode() Secret {
	return Secret(deviceCodePrefix + base64.RawURLEncoding.EncodeToString(t.bytes()))
}

// authorizationCode returns the token as an authorization code (RFC 6749 §4.1.2).
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

// refreshKey is the key that authenticates refresh tokens. A token has a tag (MAC)
// under this key, so that a token that we never issued is refused without reading a
// grant: ids are not secret, and a made-up token for an id must not end the grant as
// a replay would.
type refreshKey [32]byte

// refreshKey returns the current key of refresh tokens.
func (e *Engine) refreshKey() refreshKey { return e.cfg.RefreshKey() }

const tagSize = 16

func (k refreshKey) derive(purpose string, t splitToken) []byte {
	mac := hmac.New(sha256.New, k[:])
	mac.Write([]byte(purpose))
	mac.Write(t.bytes())
	return mac.Sum(nil)
}

// successor returns the refresh token that replaces t. It is derived and not random,
// so that a client that did not receive it can get the same one again although only
// its digest is stored. (RFC 9700 §4.14.2 requires rotation, but not this.)
func (k refreshKey) successor(t splitToken) splitToken {
	next := splitToken{id: t.id}
	copy(next.secret[:], k.derive("successor", t))
	return next
}

// authorizationCode returns the code of an authorization request. It is derived, too, so
// that an approval by two clicks gives one code, whichever of them is answered last.
func (k refreshKey) authorizationCode(request ID) splitToken {
	code := splitToken{id: request}
	copy(code.secret[:], k.derive("authorization code", code))
	return code
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
