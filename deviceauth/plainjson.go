package deviceauth

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// plainJSON are claims whose JSON is ASCII, and is encoded to the same text by base64
// and base64url. Browser code that decodes a token with atob accepts neither - nor _,
// and reads bytes as Latin-1: it would fail with a picture URL that has a question
// mark, or with a name such as Zoë.
//
// Of ASCII only >, ?, ~ and DEL have 62 or 63 as their last six bits, for which the
// two alphabets differ (RFC 4648 §4, §5). These and all non-ASCII characters are
// written as \u escapes (RFC 8259 §7). JSON has them only within strings.
type plainJSON Claims

// MarshalJSON implements json.Marshaler.
func (c plainJSON) MarshalJSON() ([]byte, error) {
	text, err := json.Marshal(Claims(c))
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, r := range string(text) {
		switch {
		case r < 0x7f && r != '>' && r != '?' && r != '~':
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		}
	}
	return []byte(b.String()), nil
}
