package pages

import (
	"bytes"
	"compress/flate"
	"crypto/cipher"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"github.com/deviceauth/caddy-deviceauth/internal/seal"
)

// A sealer encrypts the state that a browser keeps with AES-256-GCM, so that the
// browser can neither read nor change it. The purpose is authenticated, so that a
// value cannot be used for another purpose.
type sealer struct{ aead cipher.AEAD }

// newSealer returns a sealer. It refuses a key that was not set.
func newSealer(key seal.Source) (sealer, error) {
	aead, err := seal.Follow(key)
	if err != nil {
		return sealer{}, fmt.Errorf("CookieKey: %w", err)
	}
	return sealer{aead: aead}, nil
}

// maxSealed limits decompression: enough for a person with a thousand groups.
const maxSealed = 1 << 20

// compressors are pooled because a new one allocates most of a megabyte, and a page
// encrypts three texts. Reset removes the previous text from a compressor.
var compressors = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
	if err != nil {
		panic(err) // only for a level that flate does not have
	}
	return w
}}

// seal compresses and encrypts a value. The purpose is authenticated, but not part of
// the result.
func (s sealer) seal(purpose string, v any) (string, error) {
	var packed bytes.Buffer
	// The value of a person with many groups shrinks to a third; a cookie has at most
	// 4096 bytes.
	w := compressors.Get().(*flate.Writer)
	defer compressors.Put(w)
	w.Reset(&packed)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		return "", fmt.Errorf("sealing a %s: %w", purpose, err)
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, packed.Bytes(), []byte(purpose))), nil
}

// open reports whether the text was encrypted for the purpose, and decodes it.
func (s sealer) open(purpose, text string, v any) bool {
	// An invalid text counts as missing: the person starts again, without an error.
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return false
	}
	packed, err := s.aead.Open(nil, nil, raw, []byte(purpose))
	if err != nil {
		return false
	}
	return json.NewDecoder(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxSealed)).Decode(v) == nil
}
