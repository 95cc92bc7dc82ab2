package deviceauth

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf16"
)

// plainJSON are claims whose JSON has the same text in base64 and in base64url,
// and is ASCII. Browser code that decodes a token with atob knows neither - nor _
// and reads bytes as Latin-1: a picture's address with a question mark, or a name
// such as Zoë, would break it.
//
// Of ASCII only the last six bits of >, ?, ~ and DEL are 62 or 63, which the two
// alphabets spell differently (RFC 4648 §4, §5); those and whatever is not ASCII
// are written as \u escapes (RFC 8259 §7). JSON has them within strings alone.
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
