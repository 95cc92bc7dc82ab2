package upstreamidp

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"strings"
)

// A sealed refresh token is AES-256-GCM, bound to the person's subject, in
// base64 behind its format. Text without a format is from before there was
// any; the gateway's key was then 32 zero bytes, by a mistake.
const sealedFormat = "1."

// seal hides a refresh token from a reader of the store. No token is "".
func (p *Provider) seal(subject, token string) string {
	if token == "" {
		return ""
	}
	return sealedFormat + base64.RawStdEncoding.EncodeToString(p.sealer.Seal(nil, nil, []byte(token), []byte(subject)))
}

// open returns "" for what was sealed with another key: nothing is known then
// of the person at the provider, so the person's devices end.
func (p *Provider) open(subject, sealed string) string {
	text, ok := strings.CutPrefix(sealed, sealedFormat)
	if !ok {
		return ""
	}
	return unseal(p.sealer, subject, text)
}

// renew seals what is from before there was a format with the key, so that an
// upgrade costs no device. It gives nothing to a program that can write to the store:
// who the person is stands beside the token, and is not sealed at all.
func (p *Provider) renew(subject string, v *upstreamSession) {
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

// unseal opens a sealed token, or returns the empty string. The subject is the
// additional data, so a token that is moved to another person's session does
// not open.
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

// zeroSealer opens what was sealed without a key. It must never seal.
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
