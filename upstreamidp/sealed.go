package upstreamidp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"strings"
)

// A sealed refresh token is encrypted with AES-256-GCM, with the person's subject as
// additional data. It is stored in base64 after the format. Text without a format is
// from earlier versions, whose key was by mistake 32 zero bytes.
const sealedFormat = "1."

// seal encrypts a refresh token, so that it cannot be read in the store. Without a
// token it returns "".
func (p *Provider) seal(subject, token string) string {
	if token == "" {
		return ""
	}
	return sealedFormat + base64.RawStdEncoding.EncodeToString(p.sealer.Seal(nil, nil, []byte(token), []byte(subject)))
}

// open decrypts a refresh token. It returns "" for a token with another key: then
// nothing is known about the person at the provider, so the person's devices end.
func (p *Provider) open(subject, sealed string) string {
	text, ok := strings.CutPrefix(sealed, sealedFormat)
	if !ok {
		return ""
	}
	return unseal(p.sealer, subject, text)
}

// migrate encrypts a token of an earlier version with the current key, so that an
// upgrade disconnects no device. This does not help an attacker who can write to the
// store: the person's identity is stored next to the token without encryption.
func (p *Provider) migrate(subject string, v *upstreamSession) {
	if v.Token == "" || strings.HasPrefix(v.Token, sealedFormat) {
		return
	}
	for _, aead := range []cipher.AEAD{p.sealer, zeroSealer()} {
		if token := unseal(aead, subject, v.Token); token != "" {
			v.Token = p.seal(subject, token)
			return
		}
	}
}

// unseal decrypts a sealed token, or returns "". The subject is the additional data,
// so a token that is moved to another person's session cannot be decrypted.
func unseal(aead cipher.AEAD, subject, text string) string {
	raw, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return ""
	}
	token, err := aead.Open(nil, nil, raw, []byte(subject))
	if err != nil {
		return ""
	}
	return string(token)
}

// zeroSealer decrypts tokens that were encrypted with the zero key. It must never be
// used to encrypt.
func zeroSealer() cipher.AEAD {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		panic(err) // the key has the right length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // AES has the right block
	}
	return aead
}
