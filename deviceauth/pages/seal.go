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

// A sealer puts what a browser is to keep into text that the browser can
// neither read nor change: AES-256-GCM. What it is for is sealed in, so that a
// cookie presented as another one does not open.
type sealer struct{ aead cipher.AEAD }

// newSealer refuses a key that was never set.
func newSealer(key seal.Source) (sealer, error) {
	aead, err := seal.Follow(key)
	if err != nil {
		return sealer{}, fmt.Errorf("CookieKey: %w", err)
	}
	return sealer{aead: aead}, nil
}

// maxSealed bounds what is unpacked: a person with a thousand groups.
const maxSealed = 1 << 20

// compressors are pooled because a new one takes most of a megabyte, and a page seals
// three texts. Reset leaves nothing of the previous text in a compressor.
var compressors = sync.Pool{New: func() any {
	w, err := flate.NewWriter(io.Discard, flate.DefaultCompression)
	if err != nil {
		panic(err) // only for a level that flate does not have
	}
	return w
}}

// seal packs and encrypts a value. The purpose is authenticated, and not sent.
func (s sealer) seal(purpose string, v any) (string, error) {
	var packed bytes.Buffer
	// A person with many groups is packed to a third; cookies have 4096 bytes each.
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

// open reports whether the text was sealed for the purpose, and decodes it.
func (s sealer) open(purpose, text string, v any) bool {
	// What does not open is as good as not there: a person sees a new beginning, and no error.
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
