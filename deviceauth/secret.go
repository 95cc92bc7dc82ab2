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

// A Secret hides itself: whatever prints, logs or marshals it shows only that
// it is there. [Secret.Reveal] is the one way to its text.
type Secret string

// Reveal returns the text, for the one place that hands it out.
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

// An ID names a grant: 128 random bits. It is no secret: it is the access
// token's sid claim.
type ID [16]byte

func newID() (id ID) {
	rand.Read(id[:])
	return id
}

func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// ParseID reads what [ID.String] wrote.
func ParseID(s string) (id ID, err error) {
	err = id.UnmarshalText([]byte(s))
	return id, err
}

// MarshalText writes the ID as 22 characters of base64url.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what [ID.MarshalText] wrote.
func (id *ID) UnmarshalText(text []byte) error { return decodeInto(id[:], text) }

// A Digest is the SHA-256 of a secret half. It is all that is ever stored, so
// that a stolen database yields no token.
type Digest [sha256.Size]byte

func digest(secret []byte) Digest { return sha256.Sum256(secret) }

// equal compares in constant time.
func (d Digest) equal(other Digest) bool { return subtle.ConstantTimeCompare(d[:], other[:]) == 1 }

// MarshalText writes the digest as 43 characters of base64url.
func (d Digest) MarshalText() ([]byte, error) {
	return base64.RawURLEncoding.AppendEncode(nil, d[:]), nil
}

// UnmarshalText reads what [Digest.MarshalText] wrote.
func (d *Digest) UnmarshalText(text []byte) error { return decodeInto(d[:], text) }

// decodeInto fills dst from base64url that has exactly one spelling: several
// texts would name one grant. Strict sees to the last bits, but not to the
// line breaks that the decoder skips.
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
