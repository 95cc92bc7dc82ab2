package deviceauth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// A Secret hides its text: if it is printed, logged or marshaled it only shows that
// it is set. Only [Secret.Reveal] returns the text.
type Secret string

// Reveal returns the text, for the code that sends or compares it.
func (s Secret) Reveal() string { return string(s) }

// Format hides the secret from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "[hidden]"
}

// MarshalText hides the secret from encoders and structured loggers.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// An ID identifies a grant: 128 random bits. It is not secret: access tokens have it
// as their sid claim.
type ID [16]byte

func newID() (id ID) {
	rand.Read(id[:])
	return id
}

func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseID parses the result of [ID.String].
func ParseID(s string) (id ID, err error) {
	err = id.UnmarshalText([]byte(s))
	return id, err
}

// MarshalText returns the ID as 22 characters of base64url.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText parses the result of [ID.MarshalText].
func (id *ID) UnmarshalText(text []byte) error { return decodeInto(id[:], text) }

// A Digest is the SHA-256 of the secret part of a token. Only digests are stored, so
// that a stolen database contains no tokens.
type Digest [sha256.Size]byte

func digest(secret []byte) Digest { return sha256.Sum256(secret) }

// equal compares in constant time.
func (d Digest) equal(other Digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

// MarshalText returns the digest as 43 characters of base64url.
func (d Digest) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, d[:]), nil
}

// UnmarshalText parses the result of [Digest.MarshalText].
func (d *Digest) UnmarshalText(text []byte) error { return decodeInto(d[:], text) }

// decodeInto decodes base64url into dst. It accepts only one spelling of each value,
// because otherwise several texts would name one grant. Strict rejects non-zero
// trailing bits, but not line breaks, which the decoder skips.
func decodeInto(dst, text []byte) error {
	if bytes.ContainsAny(text, "\r\n") {
		return errors.New("not base64url: it has line breaks")
	}
	raw, err := base64.RawURLEncoding.Strict().AppendDecode(make([]byte, 0, 64), text)
	if err != nil {
		return fmt.Errorf("not base64url: %w", err)
	}
	if len(raw) != len(dst) {
		return fmt.Errorf("%d bytes, want %d", len(raw), len(dst))
	}
	copy(dst, raw)
	return nil
}
